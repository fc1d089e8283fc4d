//! Tests of the whole room, on stores that fail.
