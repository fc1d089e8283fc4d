//! The simple protocol: one text with any number of statements, answered in text.

use crate::connection::{Connection, attended};
use crate::wire::Step;
use pgwire::messages::response::EmptyQueryResponse;

impl Connection {
    /// Runs the statements of `text` one after the other; the first error ends it.
    pub async fn query(&mut self, text: &str) -> Step {
        // A simple query ends what an extended one left open under the empty name.
        self.statements.remove("");
        self.portals.remove("");
        let statements = self.session.parse(text)?;
        if statements.is_empty() {
            self.wire.put(&EmptyQueryResponse::new())?;
        }
        for statement in &statements {
            let outcome = attended(&mut self.wire, &self.interrupt, self.session.run(statement)).await?;
            self.answer(outcome).await?;
        }
        self.ready().await
    }
}
