//! A sink into a topic: the asynchronous side, which hands each call to the thread that owns the producer.

use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use headwater_types::{ChangeBatch, Error, Result};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::settings::Settings;
use super::writer::Writer;
use crate::{Delivery, Mark, Sink, SinkDefinition};

/// Brokers forget the offsets of a group without members after a week; a mark that did not move is committed again this often.
const REMARK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What the thread is asked.
enum Call {
    Mark(oneshot::Sender<Result<Option<Mark>>>),
    Deliver(Delivery, oneshot::Sender<Result<()>>),
    Rewrite(Vec<ChangeBatch>, Mark, oneshot::Sender<Result<()>>),
}

/// Delivers a view to a topic, one transaction a delivery.
pub(super) struct KafkaSink {
    definition: SinkDefinition,
    settings: Settings,
    nonce: Uuid,
    thread: Option<(Sender<Call>, JoinHandle<()>)>,
}

impl KafkaSink {
    pub(super) fn new(definition: SinkDefinition, settings: Settings, nonce: Uuid) -> Self {
        Self { definition, settings, nonce, thread: None }
    }

    /// Has the thread, started at the first call, do what `call` makes of the place for the answer.
    async fn call<T>(&mut self, call: impl FnOnce(oneshot::Sender<Result<T>>) -> Call) -> Result<T> {
        let calls = match &self.thread {
            Some((calls, _)) => calls.clone(),
            None => {
                let (calls, called) = bounded(1);
                let (definition, settings, nonce) = (self.definition.clone(), self.settings.clone(), self.nonce);
                let name = format!("kafka-sink-{}", definition.name);
                let thread = std::thread::Builder::new().name(name).spawn(move || serve(&definition, &settings, nonce, &called))?;
                self.thread = Some((calls.clone(), thread));
                calls
            }
        };
        let (answer, answered) = oneshot::channel();
        calls.try_send(call(answer)).map_err(|_| Error::external("the last call to this kafka sink was given up and still runs"))?;
        answered.await.map_err(|_| Error::bug("the thread of a kafka sink died"))?
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        self.call(Call::Mark).await
    }

    fn keeps_mark(&self) -> bool {
        true
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<()> {
        let delivery = delivery.clone();
        self.call(|answer| Call::Deliver(delivery, answer)).await
    }

    async fn rewrite(&mut self, rows: Vec<ChangeBatch>, mark: Mark) -> Result<()> {
        if !self.definition.upsert {
            return Err(Error::unsupported(format!("rewriting the append sink '{}'", self.definition.name)));
        }
        self.call(|answer| Call::Rewrite(rows, mark, answer)).await
    }
}

/// Owns the producer until the sink is dropped. A failed writer is thrown away; the next call connects anew.
fn serve(definition: &SinkDefinition, settings: &Settings, nonce: Uuid, called: &Receiver<Call>) {
    let mut writer: Option<Writer> = None;
    let connected = |writer: &mut Option<Writer>| match writer.take() {
        Some(writer) => Ok(writer),
        None => Writer::connect(definition, settings, nonce),
    };
    loop {
        let call = match called.recv_timeout(REMARK_EVERY) {
            Ok(call) => call,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                // Failing is no harm: the next delivery tells, and until then it is tried again. To connect is to write the mark again, too.
                writer = match writer.take() {
                    Some(writer) => writer.remark().is_ok().then_some(writer),
                    None => Writer::connect(definition, settings, nonce).ok(),
                };
                continue;
            }
        };
        // A caller that has gone away needs no answer: `send` gives it back, and it is dropped.
        let unanswered = match call {
            Call::Mark(answer) => {
                let outcome = connected(&mut writer).map(|w| writer.insert(w).mark());
                answer.send(outcome).is_err()
            }
            Call::Deliver(delivery, answer) => {
                let outcome = connected(&mut writer).and_then(|w| w.deliver(&delivery)).map(|w| writer = Some(w));
                answer.send(outcome).is_err()
            }
            Call::Rewrite(rows, mark, answer) => {
                let outcome = connected(&mut writer).and_then(|w| w.rewrite(&rows, mark)).map(|w| writer = Some(w));
                answer.send(outcome).is_err()
            }
        };
        if unanswered {
            writer = None;
        }
    }
}
