//! The connectors a database knows, by name: one line each.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_types::{Error, Result};

use crate::Connector;
use crate::blackhole::Blackhole;
use crate::file::File;
use crate::generator::{Datagen, Nexmark};
use crate::kafka::Kafka;
use crate::options::nearest;
use crate::postgres::Postgres;
use crate::print::Print;

/// Every connector of this build.
#[must_use]
pub fn all() -> Registry {
    let mut registry = Registry::default();
    registry.register(Arc::new(Blackhole));
    registry.register(Arc::new(Datagen));
    registry.register(Arc::new(File));
    registry.register(Arc::new(Kafka::new()));
    registry.register(Arc::new(Nexmark));
    registry.register(Arc::new(Postgres));
    registry.register(Arc::new(Print));
    registry
}

/// The connectors a database knows, by name.
#[derive(Clone, Default)]
pub struct Registry {
    connectors: BTreeMap<&'static str, Arc<dyn Connector>>,
}

impl Registry {
    /// Adds a connector; the last one of a name wins.
    pub fn register(&mut self, connector: Arc<dyn Connector>) {
        self.connectors.insert(connector.name(), connector);
    }

    /// The connector called `name`.
    ///
    /// # Errors
    /// `NotFound`, with the nearest name proposed.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Connector>> {
        self.connectors.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.connectors.keys().copied().collect();
            let error = Error::not_found(format!("there is no connector '{name}'"));
            match nearest(name, &names) {
                Some(near) => error.with_hint(format!("did you mean '{near}'?")),
                None => error.with_hint(format!("there are: {}", names.join(", "))),
            }
        })
    }
}
