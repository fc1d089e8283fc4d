//! What a resident table keeps beside its keys, as its owner sees it.

use arrow::array::ArrayRef;
use headwater_types::Result;

/// The typed state columns beside a resident table's keys; slot i of every column belongs to key i.
pub trait StateColumns: Send + Sync {
    /// Makes room for `slots` slots; new ones are in the initial state.
    fn resize(&mut self, slots: usize);

    /// Sets these slots back to the initial state; they will be used for other keys.
    fn reset(&mut self, slots: &[u32]);

    /// The state of these slots as columns of the state schema.
    ///
    /// # Errors
    /// A state that no column can hold.
    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Overwrites the state of these slots, each at most once, with what `gather` gave (restart).
    ///
    /// # Errors
    /// Other columns than `gather` gives.
    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// Bytes in memory.
    fn bytes(&self) -> usize;
}
