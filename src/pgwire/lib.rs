//! The PostgreSQL front end: sessions of the database over the wire protocol, version 3.
#![deny(unsafe_code)]

mod calendar;
mod cancel;
mod connection;
mod copy_in;
mod copy_out;
mod copy_text;
mod decode;
mod encode;
mod extended;
mod results;
mod rows;
mod server;
mod simple;
mod startup;
mod wire;

pub use copy_out::CopyEncoder;
pub use rows::text_rows;
pub use server::{bind, bind_open, serve, serve_until};
