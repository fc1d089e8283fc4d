//! Definitions: the catalog entry and the running object in one commit.

use std::sync::Arc;

use headwater_catalog::{Catalog, Object, ObjectKind};
use headwater_runtime::{Definition, ViewDef};
use headwater_sql::PlannedView;
use headwater_state::Writes;
use headwater_types::{Error, Result};
use uuid::Uuid;

use crate::{Outcome, Session, connect};

impl Session {
    pub(crate) async fn create_source(&mut self, mut object: Object) -> Result<Outcome> {
        connect::check_source(&mut object, &self.shared.options.registry)?;
        self.create(object, |object, session| {
            let ObjectKind::Source(spec) = &object.kind else { return Err(Error::bug("not a source")) };
            Ok(Definition::Source(connect::source(object, spec, &session.shared.options.registry)?))
        })
        .await?;
        Ok(Outcome::done("CREATE SOURCE"))
    }

    pub(crate) async fn create_table(&mut self, object: Object) -> Result<Outcome> {
        self.create(object, |object, _| Ok(Definition::Table(connect::table(object)?))).await?;
        Ok(Outcome::done("CREATE TABLE"))
    }

    /// A plain view is only a catalog entry: readers put its query in its place.
    pub(crate) async fn create_view(&mut self, object: Object) -> Result<Outcome> {
        let one_at_a_time = self.shared.ddl.clone().lock_owned().await;
        let mut catalog = Catalog::clone(&self.shared.catalog());
        let object = if object.id.0 == 0 { catalog.create(object, Uuid::new_v4())? } else { catalog.replace(object)? };
        let mut writes = Writes::new();
        catalog.put(&object, &mut writes)?;
        let runtime = self.shared.runtime.clone();
        self.shared.change_catalog(one_at_a_time, catalog, async move { runtime.commit_catalog(writes).await }).await?;
        Ok(Outcome::done("CREATE VIEW"))
    }

    /// Returns when the view has met what its sources held at the call; in a script that wait is put off to its end.
    pub(crate) async fn create_materialized_view(&mut self, object: Object, planned: PlannedView) -> Result<Outcome> {
        let view = self.create(object, |object, _| Ok(view_definition(object, &planned))).await?;
        match &mut self.script {
            Some(script) => script.views.push(view.id),
            None if self.settings.get("background_ddl") == Some("on") => {}
            None => self.caught_up(&view).await?,
        }
        Ok(Outcome::done("CREATE MATERIALIZED VIEW"))
    }

    /// Waits until a new view has met what its sources held at the call. One that cannot is taken back.
    async fn caught_up(&mut self, view: &Arc<Object>) -> Result<()> {
        let below = self.below(view.id);
        let Err(error) = self.telling(&below, self.shared.runtime.flush(Some(view.id))).await else { return Ok(()) };
        match self.drop_objects("DROP MATERIALIZED VIEW", std::slice::from_ref(view)).await {
            Ok(_) => Err(error),
            Err(_) => Err(error.with_hint(format!("materialized view \"{}\" is there, and waits", view.name))),
        }
    }

    pub(crate) async fn create_sink(&mut self, mut object: Object, view: Option<Box<(Object, PlannedView)>>) -> Result<Outcome> {
        connect::check_sink(&object, &self.shared.options.registry)?;
        if let Some(view) = view {
            let (hidden, planned) = *view;
            let created = self.create(hidden, |object, _| Ok(view_definition(object, &planned))).await?;
            if let ObjectKind::Sink(spec) = &mut object.kind {
                spec.from = created.id;
            }
            object.depends_on = vec![created.id];
        }
        self.create(object, |object, session| {
            let ObjectKind::Sink(spec) = &object.kind else { return Err(Error::bug("not a sink")) };
            let options = &session.shared.options;
            Ok(Definition::Sink(Box::new(connect::sink(object, spec, &options.registry, options.checkpoint.is_some())?)))
        })
        .await?;
        Ok(Outcome::done("CREATE SINK"))
    }

    async fn create(&self, object: Object, definition: impl FnOnce(&Arc<Object>, &Session) -> Result<Definition>) -> Result<Arc<Object>> {
        let one_at_a_time = self.shared.ddl.clone().lock_owned().await;
        let mut catalog = Catalog::clone(&self.shared.catalog());
        let object = catalog.create(object, Uuid::new_v4())?;
        let definition = definition(&object, self)?;
        let mut writes = Writes::new();
        catalog.put(&object, &mut writes)?;
        let runtime = self.shared.runtime.clone();
        self.shared.change_catalog(one_at_a_time, catalog, async move { runtime.create(definition, writes).await }).await?;
        Ok(object)
    }

    pub(crate) async fn drop_objects(&mut self, tag: &'static str, objects: &[Arc<Object>]) -> Result<Outcome> {
        let one_at_a_time = self.shared.ddl.clone().lock_owned().await;
        let mut catalog = Catalog::clone(&self.shared.catalog());
        let mut writes = Writes::new();
        let mut ids = Vec::new();
        for object in objects {
            catalog.drop(object.id)?;
            Catalog::remove(object, &mut writes);
            ids.push(object.id);
        }
        let runtime = self.shared.runtime.clone();
        self.shared.change_catalog(one_at_a_time, catalog, async move { runtime.drop_objects(ids, writes).await }).await?;
        Ok(Outcome::done(tag))
    }

    pub(crate) async fn comment(&mut self, object: Object) -> Result<Outcome> {
        let one_at_a_time = self.shared.ddl.clone().lock_owned().await;
        let mut catalog = Catalog::clone(&self.shared.catalog());
        let object = catalog.replace(object)?;
        let mut writes = Writes::new();
        catalog.put(&object, &mut writes)?;
        let runtime = self.shared.runtime.clone();
        self.shared.change_catalog(one_at_a_time, catalog, async move { runtime.commit_catalog(writes).await }).await?;
        Ok(Outcome::done("COMMENT"))
    }
}

/// A view as the runtime needs it.
pub(crate) fn view_definition(object: &Object, planned: &PlannedView) -> Definition {
    Definition::View(Box::new(ViewDef { id: object.id, name: object.name.clone(), plan: planned.plan.clone() }))
}
