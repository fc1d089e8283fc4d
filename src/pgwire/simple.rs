//! The simple protocol: one text with any number of statements, answered in text.

use crate::connection::{Connection, attended};
use crate::wire::Step;
use headwater::Statement;
use pgwire::messages::response::EmptyQueryResponse;

impl Connection {
    /// Runs the statements of `text` one after the other; the first error ends it, and takes back what the queries and writes just before it wrote.
    pub async fn query(&mut self, text: &str) -> Step {
        // A simple query ends what an extended one left open under the empty name.
        self.statements.remove("");
        self.portals.remove("");
        let statements = self.session.parse(text)?;
        if statements.is_empty() {
            self.wire.put(&EmptyQueryResponse::new())?;
        }
        let outcome = self.statements(&statements).await;
        if outcome.is_err() {
            self.session.fail_text();
        }
        outcome?;
        self.ready().await
    }

    async fn statements(&mut self, statements: &[Statement]) -> Step {
        for statement in statements {
            if statements.len() > 1 {
                attended(&mut self.wire, &self.interrupt, self.session.join_text(statement)).await?;
            }
            let outcome = attended(&mut self.wire, &self.interrupt, self.session.run(statement)).await?;
            self.answer(outcome).await?;
        }
        attended(&mut self.wire, &self.interrupt, self.session.end_text()).await
    }
}
