//! Room on the stack for statements whose trees are deep: parsing, planning and dropping them are functions that call themselves.

/// The stack that a statement gets where its thread has too little left. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;
/// Enough for a tree of the greatest depth, with room to spare.
const ENOUGH_BYTES: usize = 64 << 20;

/// Does `work` on a stack with room for trees as deep as [`crate::parse`] lets through.
pub fn with_room<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(ENOUGH_BYTES, STACK_BYTES, work)
}
