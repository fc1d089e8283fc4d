//! The vocabulary of the house: changes with weights, epochs, watermarks, clocks and the one error type.
#![deny(unsafe_code)]

mod change;
mod clock;
mod consolidate;
mod epoch;
mod error;
mod floats;
mod rows;

pub use change::{BATCH_ROWS_MAX, ChangeBatch, INLINE_ROWS_MAX, data_bytes};
pub use clock::{Clock, HeldClock, SystemClock};
pub use consolidate::{consolidate, multiplicities_negative};
pub use epoch::{END_OF_TIME, Epoch, Micros, ObjectId, Watermarks};
pub use error::{Error, ErrorKind, Result};
pub use floats::equal_floats;
pub use rows::{RowOrder, order_prefix};
