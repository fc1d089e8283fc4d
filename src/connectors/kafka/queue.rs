//! The queue of a consumer, drained many records at a call: the one place that calls librdkafka past its Rust wrapper.
//!
//! The wrapper hands over one record a call, with an event object and two reference counts each; at a million records a second that is most of
//! the cost. Here records stay in librdkafka's memory while they are looked at, and nothing is allocated.
#![allow(unsafe_code, reason = "librdkafka's batch call has no safe wrapper")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Error, Result};
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

/// Records taken over at one call.
const CALL_RECORDS: usize = 1024;

/// A record, or what happened in its place, while librdkafka holds it.
pub(super) struct Record<'a> {
    message: &'a native::rd_kafka_message_t,
}

impl Record<'_> {
    pub(super) fn partition(&self) -> i32 {
        self.message.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.message.offset
    }

    /// What happened, if this is no record: the end of a partition, or an error with its reason.
    pub(super) fn event(&self) -> Option<(RDKafkaErrorCode, String)> {
        if self.message.err == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let code = RDKafkaErrorCode::from(self.message.err);
        // SAFETY: the message lives; the text is NULL or a C string that lives as long.
        let reason = unsafe {
            let text = native::rd_kafka_message_errstr(self.message);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        Some((code, reason))
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka gives a pointer and the bytes behind it, which live as long as the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    pub(super) fn payload(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Milliseconds since 1970 UTC, where the record has a time.
    pub(super) fn timestamp_millis(&self) -> Option<i64> {
        // SAFETY: the message lives; the kind of timestamp may be left out.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.message, ptr::null_mut()) };
        (millis >= 0).then_some(millis)
    }

    /// Calls `each` with name and value of every header, in order.
    pub(super) fn headers(&self, mut each: impl FnMut(&str, Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives; headers, names and values belong to it.
        unsafe {
            if native::rd_kafka_message_headers(self.message, &mut headers) != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            let (mut name, mut value, mut length): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
            let mut index = 0;
            while native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length)
                == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                each(&CStr::from_ptr(name).to_string_lossy(), bytes(value, length));
                index += 1;
            }
        }
    }
}

/// # Safety
/// `start` is NULL, or `length` bytes may be read there for as long as `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// A reference to a consumer's queue, counted by librdkafka.
struct Native {
    queue: NonNull<native::rd_kafka_queue_t>,
    /// Keeps the client alive; dropped after the reference.
    consumer: Arc<BaseConsumer>,
}

// SAFETY: librdkafka's queues may be used and released from any thread.
unsafe impl Send for Native {}
// SAFETY: likewise from several threads at once.
unsafe impl Sync for Native {}

impl Native {
    fn of(consumer: &Arc<BaseConsumer>) -> Result<Self> {
        // SAFETY: the client lives; the reference is released in `drop`.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::bug("a consumer with a group has a queue"))?;
        Ok(Self { queue, consumer: consumer.clone() })
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: this reference was counted for us.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Everything that a consumer fetched, partition ends and errors among the records.
pub(super) struct Queue {
    native: Native,
    taken: Vec<*mut native::rd_kafka_message_t>,
}

// SAFETY: the pointers are only set during a call of `drain`.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn of(consumer: &Arc<BaseConsumer>) -> Result<Self> {
        Ok(Self { native: Native::of(consumer)?, taken: vec![ptr::null_mut(); CALL_RECORDS] })
    }

    /// Waits up to `wait` for the first record, then calls `each` with it and all that are there, `records_max` at most.
    /// Returns how many there were. What `each` refuses ends the visit, and the records taken but not visited are lost to this queue.
    pub(super) fn drain(&mut self, wait: Duration, records_max: usize, mut each: impl FnMut(&Record<'_>) -> Result<()>) -> Result<usize> {
        let mut wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let (mut total, mut outcome) = (0, Ok(()));
        while total < records_max && outcome.is_ok() {
            // The call waits until it has as many as asked for: one is asked for while waiting, the rest only if they are there.
            let asked = if wait_ms > 0 { 1 } else { CALL_RECORDS.min(records_max - total) };
            // SAFETY: the queue lives, and `taken` has room for `asked` pointers.
            let count =
                unsafe { native::rd_kafka_consume_batch_queue(self.native.queue.as_ptr(), wait_ms, self.taken.as_mut_ptr(), asked) };
            let count = usize::try_from(count).unwrap_or(0);
            for &message in &self.taken[..count] {
                if outcome.is_ok() {
                    // SAFETY: librdkafka filled in `count` pointers to messages that are ours until destroyed below.
                    outcome = each(&Record { message: unsafe { &*message } });
                }
                // SAFETY: ours, and not used again.
                unsafe { native::rd_kafka_message_destroy(message) }
            }
            total += count;
            if count == 0 || (wait_ms == 0 && count < asked) {
                break;
            }
            wait_ms = 0;
        }
        outcome.map(|()| total)
    }

    /// Something that ends a wait in [`Queue::drain`] from another thread.
    pub(super) fn waker(&self) -> Result<Waker> {
        Native::of(&self.native.consumer).map(Waker)
    }

    /// The next offset that the broker told with the last fetch; nothing is asked.
    pub(super) fn known_end(&self, topic: &CString, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (0, 0);
        let client = self.native.consumer.client().native_ptr();
        // SAFETY: the client lives, the text is a C string, both places may be written.
        let code = unsafe { native::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &mut low, &mut high) };
        (code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

/// Ends a wait for records.
pub(super) struct Waker(Native);

impl Waker {
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives.
        unsafe { native::rd_kafka_queue_yield(self.0.queue.as_ptr()) }
    }
}
