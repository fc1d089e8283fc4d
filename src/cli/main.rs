//! The command `headwater`: runs a script, serves Postgres clients, tests scripts.
#![deny(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use headwater_cli::{Arguments, Command, run, serve, slt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Serve(arguments) => serve::main(&arguments),
        Command::Test { files } => {
            let conclusion = slt::run_files(&files);
            conclusion.exit_code()
        }
    }
}
