//! Runs a script that may have been run before on the same data: what is there as written stays, DML happens once.

pub(crate) mod record;

use headwater_catalog::Catalog;
use headwater_sql::{Bound, Statement};
use headwater_state::{Family, Writes};
use headwater_types::{Error, Result};
use uuid::Uuid;

use crate::script::record::Script;
use crate::{Outcome, Session, connect};

impl Session {
    /// [`Session::run_script_named`] for a script without a name.
    ///
    /// # Errors
    /// As there.
    pub async fn run_script(&mut self, text: &str, show: impl AsyncFnMut(&Statement, Outcome) -> Result<()>) -> Result<()> {
        self.run_script_named("", text, show).await
    }

    /// Runs `text` as the script `name` of a database. It is parsed and bound whole before anything of it is applied. A definition that is there
    /// with the same text is a notice, with another text an error. A statement that writes is not run twice: it is known by the script's name, its
    /// own text and how many of the same text stand before it. The views that the script creates start together; sources are read from the first
    /// statement that needs their rows, or from its end. Each outcome is given to `show`, which reads its rows if it wants them.
    ///
    /// # Errors
    /// The first error, with its place in `text`; that of `show`.
    pub async fn run_script_named(
        &mut self,
        name: &str,
        text: &str,
        mut show: impl AsyncFnMut(&Statement, Outcome) -> Result<()>,
    ) -> Result<()> {
        let statements = self.parse(text)?;
        self.check_script(&statements)?;
        self.shared.runtime.hold(true).await?;
        self.script = Some(Script::new(name));
        let outcome = self.run_statements(&statements, &mut show).await;
        let released = self.release_script().await;
        self.script = None;
        outcome.and(released)
    }

    async fn run_statements(
        &mut self,
        statements: &[Statement],
        show: &mut impl AsyncFnMut(&Statement, Outcome) -> Result<()>,
    ) -> Result<()> {
        for statement in statements {
            let outcome = match self.already_there(statement)? {
                Some(outcome) => outcome,
                None => self.run_once(statement).await?,
            };
            show(statement, outcome).await?;
        }
        Ok(())
    }

    /// Binds every statement against a catalog in which the earlier ones have been applied.
    fn check_script(&self, statements: &[Statement]) -> Result<()> {
        let planner = &self.shared.planner;
        let mut catalog = Catalog::clone(&self.shared.catalog());
        for statement in statements {
            if same_definition(statement, &catalog)? {
                continue;
            }
            match planner.bind(statement, &catalog, &self.settings)? {
                Bound::CreateSource(mut object) => {
                    connect::check_source(&mut object, &self.shared.options.registry)?;
                    catalog.create(object, Uuid::nil())?;
                }
                Bound::CreateTable(object) | Bound::CreateMaterializedView(object, _) => drop(catalog.create(object, Uuid::nil())?),
                Bound::CreateView(object) if object.id.0 == 0 => drop(catalog.create(object, Uuid::nil())?),
                Bound::CreateView(object) => drop(catalog.replace(object)?),
                Bound::CreateSink(object, view) => {
                    connect::check_sink(&object, &self.shared.options.registry)?;
                    if let Some(view) = view {
                        catalog.create(view.0, Uuid::nil())?;
                    }
                    catalog.create(object, Uuid::nil())?;
                }
                Bound::Drop(_, objects) => {
                    for object in objects {
                        catalog.drop(object.id)?;
                    }
                }
                Bound::CopyFrom(_) => {
                    let error = Error::unsupported("COPY … FROM STDIN in a script: there is no client that sends rows");
                    return Err(error.at(statement.offset() + 1, 4).with_hint("INSERT them, or declare a source that reads a file"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn already_there(&self, statement: &Statement) -> Result<Option<Outcome>> {
        let same = same_definition(statement, &self.shared.catalog())?;
        let name = statement.defined_name().unwrap_or_default();
        Ok(same.then(|| Outcome::done("CREATE").with_notice(format!("\"{name}\" is there already, as defined"))))
    }

    /// Runs a statement; one that writes only if it has not been run on this data before.
    async fn run_once(&mut self, statement: &Statement) -> Result<Outcome> {
        if let Some(script) = self.script.as_mut().filter(|_| statement.writes_rows()) {
            let key = script.key(statement.text());
            if self.shared.runtime.store().blocks().get(Family::Meta, &key)?.is_some() {
                return Ok(Outcome::done("SKIPPED").with_notice("this statement was run before on this data; it is not run twice"));
            }
            script.wrote(key);
        }
        let outcome = self.run(statement).await?;
        if self.block.is_none() {
            self.note_what_wrote_nothing().await?;
        }
        Ok(outcome)
    }

    /// The keys of the statements whose writes are now committed, to be committed with them.
    pub(crate) fn script_record(&mut self) -> Writes {
        self.script.as_mut().map(Script::take_record).unwrap_or_default()
    }

    /// A statement that found nothing to write was run all the same.
    async fn note_what_wrote_nothing(&mut self) -> Result<()> {
        let record = self.script_record();
        if !record.is_empty() {
            self.shared.runtime.commit_catalog(record).await?;
        }
        Ok(())
    }

    /// A script comes to a statement that needs rows, or to its end: its views read their sources from now on, and have caught up when this returns.
    pub(crate) async fn release_script(&mut self) -> Result<()> {
        let Some(script) = &mut self.script else { return Ok(()) };
        let views = std::mem::take(&mut script.views);
        self.shared.runtime.hold(false).await?;
        for view in views {
            self.shared.runtime.flush(Some(view)).await?;
        }
        Ok(())
    }
}

/// True if `statement` defines something that is there with the same text.
fn same_definition(statement: &Statement, catalog: &Catalog) -> Result<bool> {
    let Some(object) = statement.defined_name().and_then(|name| catalog.find(name)) else { return Ok(false) };
    if statement.is_conditional() {
        return Ok(false);
    }
    if normal(&object.sql) == normal(statement.text()) {
        return Ok(true);
    }
    let error = Error::exists(format!("{} \"{}\" is there already with another definition", object.kind.noun(), object.name));
    Err(error.with_detail(format!("it was defined as: {}", object.sql)).with_hint("drop it first, or give the new one another name"))
}

/// A text without differences in white space.
fn normal(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
