//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use headwater_catalog::{Column, Derived, Object, ObjectKind};
use headwater_types::{Error, ObjectId, Result};

use super::{draft, taken};
use crate::bound::PlannedView;
use crate::context::Context;
use crate::parser::{Ast, CreateView, Emit, Name, at};
use crate::{Bound, Statement, streaming, views};

pub(super) fn create(context: &Context<'_>, statement: &Statement, view: &CreateView) -> Result<Bound> {
    if let Some(option) = view.with.first() {
        return Err(at(Error::invalid(format!("a view has no option '{}'", option.name)), option.place));
    }
    let old = context.catalog.find(&view.name.text).filter(|o| view.or_replace && o.kind == ObjectKind::View).cloned();
    if old.is_none()
        && let Some(nothing) = taken(context, &view.name, view.if_not_exists, "CREATE VIEW")?
    {
        return Ok(nothing);
    }
    let plan = views::view_query(context, &Ast::CreateView(Box::new(view.clone())))?;
    // A view is expanded by reading its text again: EXPLAIN of it tells types that only hold once coerced.
    let columns = plan.schema().fields().iter().map(|f| Column::of(f)).collect();
    let mut object = draft(&view.name, ObjectKind::View, statement, columns, context.reads.borrow().clone());
    if let Some(old) = old {
        replaceable(context, &old, &object, &view.name)?;
        (object.id, object.uuid) = (old.id, old.uuid);
    }
    Ok(Bound::CreateView(object))
}

/// A view that others read keeps its meaning: they were planned with it.
fn replaceable(context: &Context<'_>, old: &Object, new: &Object, name: &Name) -> Result<()> {
    let readers: Vec<String> = context.catalog.dependents(old.id).iter().map(|r| format!("{} \"{}\"", r.kind.noun(), r.name)).collect();
    if readers.is_empty() {
        if new.depends_on.contains(&old.id) {
            return Err(name.blame(Error::invalid(format!("view \"{}\" would read itself", name.text)).with_sqlstate("42P19")));
        }
        return Ok(());
    }
    let error = Error::in_use(format!("cannot replace view \"{}\": it is read by {}", old.name, readers.join(", ")));
    Err(name.blame(error.with_hint("drop those first, or give the new view another name")))
}

pub(super) fn create_materialized(context: &Context<'_>, statement: &Statement, view: &CreateView) -> Result<Bound> {
    if let Some(nothing) = taken(context, &view.name, view.if_not_exists, "CREATE MATERIALIZED VIEW")? {
        return Ok(nothing);
    }
    if let Some(option) = view.with.first() {
        return Err(at(Error::unsupported(format!("option '{}' of a materialized view is not supported", option.name)), option.place));
    }
    let (object, planned) = plan_view(context, statement, &Ast::CreateView(Box::new(view.clone())), &view.name, view.emit)?;
    Ok(Bound::CreateMaterializedView(object, Box::new(planned)))
}

/// The draft and the plan of the materialized view that `ast` defines.
pub(super) fn plan_view(context: &Context<'_>, statement: &Statement, ast: &Ast, name: &Name, emit: Emit) -> Result<(Object, PlannedView)> {
    let query = views::view_query(context, ast)?;
    let planned = streaming::plan(context, statement, query, emit)?;
    let emit_on_close = matches!(emit, Emit::OnWindowClose(_));
    let columns: Vec<Column> = planned.plan.root().schema.fields().iter().map(|f| Column::of(f)).collect();
    let kind = ObjectKind::MaterializedView(derived(&planned, emit_on_close));
    let reads: Vec<ObjectId> = context.reads.borrow().clone();
    Ok((draft(name, kind, statement, columns, reads), planned))
}

fn derived(planned: &PlannedView, emit_on_close: bool) -> Derived {
    let plan = &planned.plan;
    let properties = &plan.root().properties;
    Derived {
        emit_on_close,
        append_only: properties.append_only,
        key: properties.key.clone(),
        watermarked: properties.watermarked.clone(),
        late: streaming::late_columns(plan),
        promised: planned.promised,
        fingerprint: plan.fingerprint(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
