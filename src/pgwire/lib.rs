//! The PostgreSQL front end: sessions of the database over the wire protocol, version 3.
#![deny(unsafe_code)]

mod calendar;
mod decode;
mod encode;
mod rows;

pub use rows::text_rows;
