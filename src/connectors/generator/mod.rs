//! Sources that make their rows up: the same rows for the same seed, from any position on.

mod chance;
mod datagen;
mod datagen_column;
mod datagen_rows;
mod nexmark;
mod nexmark_columns;
mod nexmark_rows;
mod plan;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use datagen::Datagen;
pub(crate) use nexmark::Nexmark;
