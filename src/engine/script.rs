//! Runs a script that may have been run before on the same data: what is there as written stays, DML happens once.

use headwater_catalog::Catalog;
use headwater_sql::{Bound, Statement};
use headwater_state::{Family, Writes};
use headwater_types::{Error, Result};
use uuid::Uuid;

use crate::{Outcome, Session, connect};

impl Session {
    /// Runs `text` as the script of a database. It is parsed and bound whole before anything of it is applied. A definition that is there with
    /// the same text is a notice, with another text an error; statements that write are recorded and not run twice. The views that it creates
    /// start together; sources are read from the first statement that needs their rows, or from its end. Each outcome is given to `show`.
    ///
    /// # Errors
    /// The first error, with its place in `text`.
    pub async fn run_script(&mut self, text: &str, mut show: impl FnMut(&Statement, Outcome)) -> Result<()> {
        let statements = self.parse(text)?;
        self.check_script(&statements)?;
        self.shared.runtime.hold(true).await?;
        self.script = Some(Vec::new());
        let outcome = self.run_statements(&statements, &mut show).await;
        let released = self.release_script().await;
        self.script = None;
        outcome.and(released)
    }

    async fn run_statements(&mut self, statements: &[Statement], show: &mut impl FnMut(&Statement, Outcome)) -> Result<()> {
        for (number, statement) in statements.iter().enumerate() {
            let outcome = match self.already_there(statement)? {
                Some(outcome) => outcome,
                None => self.run_once(number, statement).await?,
            };
            show(statement, outcome);
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
    async fn run_once(&mut self, number: usize, statement: &Statement) -> Result<Outcome> {
        if !statement.writes_rows() {
            return self.run(statement).await;
        }
        let key = format!("script/{number:06}/{}", statement.text()).into_bytes();
        let blocks = self.shared.runtime.store().blocks().clone();
        if blocks.get(Family::Meta, &key)?.is_some() {
            return Ok(Outcome::done("SKIPPED").with_notice("this statement was run before on this data; it is not run twice"));
        }
        let mut record = Writes::new();
        record.put(Family::Meta, key, Vec::new());
        self.shared.runtime.attach(record).await?;
        let outcome = self.run(statement).await;
        self.shared.runtime.attach(Writes::new()).await?;
        outcome
    }

    /// A script comes to a statement that needs rows, or to its end: its views read their sources from now on, and have caught up when this returns.
    pub(crate) async fn release_script(&mut self) -> Result<()> {
        let Some(views) = &mut self.script else { return Ok(()) };
        let views = std::mem::take(views);
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
