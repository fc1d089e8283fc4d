//! INSERT, UPDATE and DELETE: the rows they concern as a query, cast to the table's types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column as PlanColumn, DFSchema, ScalarValue, TableReference};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, LogicalTableSource};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, CastKind, ConflictTarget, DataType as SqlType, Expr as SqlExpr, FromTable, Ident, Insert as SqlInsert,
    ObjectName, ObjectNamePart, OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr, Spanned, Statement as Sql, TableFactor,
    TableObject, TableWithJoins, UnaryOperator, Value, ValueWithSpan,
};
use headwater_catalog::{Column, Object, ObjectKind, Part, TableSpec};
use headwater_types::{Error, Result};

use super::relation::find_column;
use crate::bound::{Changed, Insert, OnConflict, Returning};
use crate::casts::{self, PostgresTypes, exact_casts};
use crate::context::Context;
use crate::errors::{duplicate_column, in_text};
use crate::parser::{Ast, Name, at, folded, syntax};
use crate::{Bound, query};

/// Where an UPDATE keeps new values beside the old row.
const NEW: &str = "new$";

fn name_of(context: &Context<'_>, name: &ObjectName) -> Result<Name> {
    let idents: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
    let place = context.text.place(name.span());
    match idents.as_slice() {
        [table] => Ok(Name { text: folded(table), place }),
        [schema, table] if folded(schema) == "public" => Ok(Name { text: folded(table), place }),
        _ => Err(at(Error::invalid(format!("\"{name}\" cannot be written to")).with_sqlstate("42809"), place)),
    }
}

/// The table called `name`, which can be written to.
fn table(context: &Context<'_>, name: &Name) -> Result<Arc<Object>> {
    let named = context.named(name)?;
    if named.part == Part::Rows && matches!(named.object.kind, ObjectKind::Table(_)) {
        return Ok(named.object);
    }
    let noun = if named.part == Part::Rows { named.object.kind.noun() } else { "relation kept by the database" };
    let error = Error::invalid(format!("\"{}\" is a {noun}: only tables are written to", name.text)).with_sqlstate("42809");
    Err(name.blame(match named.object.kind {
        ObjectKind::Source(_) => {
            error.with_hint("a source is filled from outside; a test declares CREATE TABLE … APPEND ONLY in its place")
        }
        _ => error,
    }))
}

pub(super) fn spec(table: &Object) -> Result<&TableSpec> {
    match &table.kind {
        ObjectKind::Table(spec) => Ok(spec),
        _ => Err(Error::bug(format!("\"{}\" is no table", table.name))),
    }
}

fn refuse_append_only(table: &Object, name: &Name, what: &str) -> Result<()> {
    if spec(table)?.append_only {
        return Err(
            name.blame(Error::invalid(format!("table \"{}\" is APPEND ONLY: {what} is not possible", table.name)).with_sqlstate("42809"))
        );
    }
    Ok(())
}

pub(super) fn insert(context: &Context<'_>, sql: &Sql) -> Result<Bound> {
    let Sql::Insert(insert) = sql else { return Err(Error::bug("no INSERT")) };
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT INTO a function or query is not supported"));
    };
    let name = name_of(context, name)?;
    let table = table(context, &name)?;
    let mut columns = insert_columns(context, insert, &table)?;
    if let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref()) {
        check_width(context, insert, values.rows.first().map_or(0, |row| row.content.len()), columns.len())?;
    }
    let plan = insert_source(context, insert, &table, &columns)?;
    check_width(context, insert, plan.schema().fields().len(), columns.len())?;
    // Those that nothing is given for get their defaults.
    columns.truncate(plan.schema().fields().len());
    let input = fit(context, plan, &table, &columns)?;
    Ok(Bound::Insert(Box::new(Insert {
        on_conflict: on_conflict(context, insert, &table)?,
        returning: insert.returning.as_ref().map(|items| returning(context, &table, items)).transpose()?,
        table,
        input,
    })))
}

/// # Errors
/// 42601: more values than columns, or fewer than there are names.
fn check_width(context: &Context<'_>, insert: &SqlInsert, given: usize, columns: usize) -> Result<()> {
    if given > columns {
        let extra = match insert.source.as_ref().map(|source| source.body.as_ref()) {
            Some(SetExpr::Values(values)) => values.rows.first().and_then(|row| row.content.get(columns)).map(Spanned::span),
            Some(SetExpr::Select(select)) if select.projection.len() == given => select.projection.get(columns).map(Spanned::span),
            _ => None,
        };
        let place = extra.and_then(|span| context.text.place(span));
        return Err(at(syntax("INSERT has more expressions than target columns"), place));
    }
    match insert.columns.get(given) {
        Some(name) => Err(at(syntax("INSERT has more target columns than expressions"), context.text.place(name.span()))),
        None => Ok(()),
    }
}

/// Indices of the columns that values come for.
fn insert_columns(context: &Context<'_>, insert: &SqlInsert, table: &Object) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut indices = Vec::new();
    for column in &insert.columns {
        let ident = column.0.last().and_then(ObjectNamePart::as_ident).ok_or_else(|| syntax(format!("{column} is no column")))?;
        let name = Name { text: folded(ident), place: context.text.place(ident.span) };
        let index = find_column(&table.columns, &name)?;
        if indices.contains(&index) {
            return Err(name.blame(duplicate_column(&name.text)));
        }
        indices.push(index);
    }
    Ok(indices)
}

fn insert_source(context: &Context<'_>, insert: &SqlInsert, table: &Object, columns: &[usize]) -> Result<LogicalPlan> {
    let Some(source) = &insert.source else {
        let row = table.columns.iter().map(default_sql).collect::<Result<Vec<_>>>()?;
        let mut query = parsed_query("VALUES (1)")?;
        if let SetExpr::Values(values) = query.body.as_mut() {
            values.rows[0].content = row;
        }
        return query::plan(context, &query);
    };
    let mut source = source.clone();
    let parameters = match source.body.as_mut() {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                let given: Vec<&Column> = columns.iter().map(|&c| &table.columns[c]).collect();
                put_defaults(&mut row.content, &given)?;
                type_literals(&mut row.content, &given)?;
            }
            values_parameters(values.rows.iter().map(|r| r.content.as_slice()), table, columns)
        }
        _ => Vec::new(),
    };
    let mut context_with_types = Context::new(context.planner, context.catalog, context.settings, context.text.clone());
    context_with_types.parameters = context.parameters.clone();
    for (index, data_type) in parameters {
        if context_with_types.parameters.len() <= index {
            context_with_types.parameters.resize(index + 1, None);
        }
        context_with_types.parameters[index].get_or_insert(data_type);
    }
    query::plan(&context_with_types, &source)
}

/// Types of `$1` … that stand alone in VALUES: those of their columns.
fn values_parameters<'r>(rows: impl Iterator<Item = &'r [SqlExpr]>, table: &Object, columns: &[usize]) -> Vec<(usize, DataType)> {
    let mut found = Vec::new();
    for row in rows {
        for (value, &column) in row.iter().zip(columns) {
            if let SqlExpr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = value
                && let Some(number) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0)
            {
                found.push((number - 1, table.columns[column].data_type.clone()));
            }
        }
    }
    found
}

fn is_default(expr: &SqlExpr) -> bool {
    matches!(expr, SqlExpr::Identifier(Ident { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("DEFAULT"))
}

fn put_defaults(row: &mut [SqlExpr], columns: &[&Column]) -> Result<()> {
    for (value, column) in row.iter_mut().zip(columns) {
        if is_default(value) {
            *value = default_sql(column)?;
        }
    }
    Ok(())
}

/// A literal takes the type of its own column, whatever stands in the other rows.
fn type_literals(row: &mut [SqlExpr], columns: &[&Column]) -> Result<()> {
    for (value, column) in row.iter_mut().zip(columns) {
        let plain: &SqlExpr = match &*value {
            SqlExpr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => expr,
            expr => expr,
        };
        let takes = match plain {
            SqlExpr::Value(ValueWithSpan { value: Value::SingleQuotedString(_) | Value::Null, .. }) => column.data_type != DataType::Utf8,
            SqlExpr::Value(ValueWithSpan { value: Value::Number(..), .. }) => column.data_type.is_numeric(),
            _ => false,
        };
        if takes {
            let data_type = sql_type(column)?;
            *value = SqlExpr::Cast { kind: CastKind::Cast, expr: Box::new(value.clone()), data_type, array: false, format: None };
        }
    }
    Ok(())
}

/// The type of a column as it is written in SQL.
fn sql_type(column: &Column) -> Result<SqlType> {
    let name = crate::type_names::sql_name(&column.field());
    if let SetExpr::Values(values) = parsed_query(&format!("VALUES (CAST(NULL AS {name}))"))?.body.as_ref()
        && let Some(SqlExpr::Cast { data_type, .. }) = values.rows.first().and_then(|row| row.content.first())
    {
        return Ok(data_type.clone());
    }
    Err(Error::bug(format!("{name} is no type")))
}

/// The DEFAULT of a column as an expression; NULL where it has none.
fn default_sql(column: &Column) -> Result<SqlExpr> {
    let text = column.default.as_deref().unwrap_or("NULL");
    match parsed_query(&format!("VALUES ({text})"))?.body.as_mut() {
        SetExpr::Values(values) if values.rows.len() == 1 && values.rows[0].content.len() == 1 => Ok(values.rows[0].content.remove(0)),
        _ => Err(Error::bug(format!("the default of column \"{}\" is no expression", column.name))),
    }
}

fn parsed_query(text: &str) -> Result<Box<Query>> {
    match crate::parser::parse(text)?.pop().as_ref().map(|s| s.ast()) {
        Some(Ast::Query(query)) => Ok(query.clone()),
        _ => Err(Error::bug(format!("'{text}' is no query"))),
    }
}

/// The table's columns from those of `plan`, which are for `columns`; defaults for the others.
fn fit(context: &Context<'_>, plan: LogicalPlan, table: &Object, columns: &[usize]) -> Result<LogicalPlan> {
    let mut exprs = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let expr = match columns.iter().position(|c| *c == index) {
            Some(at) => casts::assign(&plan, at, column)?,
            None => {
                let default = query::expression(context, default_sql(column)?, &DFSchema::empty())?;
                casts::cast_to(default, &DFSchema::empty(), &column.field()).map_err(|e| in_text(e, &context.text))?
            }
        };
        exprs.push(expr.alias(&column.name));
    }
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(|e| in_text(e, &context.text))
}

/// Rows of `table` from a relation that has only `columns` of it; none if that is all of them.
///
/// # Errors
/// 42701 for a column that is named twice.
pub(super) fn fill(context: &Context<'_>, table: &Object, columns: &[usize]) -> Result<Option<LogicalPlan>> {
    if let Some(twice) = columns.iter().enumerate().find(|(at, c)| columns[..*at].contains(c)) {
        return Err(duplicate_column(&table.columns[*twice.1].name));
    }
    if columns.len() == table.columns.len() {
        return Ok(None);
    }
    let fields: Vec<_> = columns.iter().map(|&c| table.columns[c].field().with_nullable(true)).collect();
    let source = Arc::new(LogicalTableSource::new(Arc::new(Schema::new(fields))));
    let scan = LogicalPlanBuilder::scan("copied", source, None).and_then(LogicalPlanBuilder::build);
    fit(context, scan.map_err(|e| in_text(e, &context.text))?, table, columns).map(Some)
}

fn on_conflict(context: &Context<'_>, insert: &SqlInsert, table: &Object) -> Result<OnConflict> {
    let conflict = match &insert.on {
        None => return Ok(OnConflict::Refuse),
        Some(OnInsert::OnConflict(conflict)) => conflict,
        Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY UPDATE is not supported").with_hint("ON CONFLICT … DO UPDATE")),
    };
    let key = &spec(table)?.primary_key;
    match &conflict.conflict_target {
        None => {}
        Some(ConflictTarget::Columns(idents)) => {
            let named = idents.iter().map(|i| find_column(&table.columns, &Name { text: folded(i), place: context.text.place(i.span) }));
            let named = named.collect::<Result<Vec<_>>>()?;
            if named.len() != key.len() || !key.iter().all(|k| named.contains(k)) {
                let error = Error::invalid("there is no unique or exclusion constraint matching the ON CONFLICT specification")
                    .with_sqlstate("42P10");
                return Err(at(error, idents.first().and_then(|i| context.text.place(i.span))));
            }
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            return Err(Error::unsupported(format!("ON CONFLICT ON CONSTRAINT {name} is not supported")));
        }
    }
    let update = match &conflict.action {
        OnConflictAction::DoNothing => return Ok(OnConflict::Nothing),
        OnConflictAction::DoUpdate(update) => update,
    };
    if key.is_empty() || conflict.conflict_target.is_none() {
        return Err(syntax("ON CONFLICT DO UPDATE needs the columns of the primary key"));
    }
    let schema = conflict_schema(context, table)?;
    let values = assignments(context, &update.assignments, table)?;
    let mut row = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        let expr = match values.iter().find(|(at, _)| *at == index) {
            Some((_, sql)) => query::expression(context, sql.clone(), &schema)?,
            None => Expr::Column(PlanColumn::new(Some(table.name.as_str()), &column.name)),
        };
        let expr = casts::cast_to(expr, &schema, &column.field()).map_err(|e| in_text(e, &context.text))?;
        row.push(physical(context, expr, &schema)?);
    }
    let filter =
        update.selection.as_ref().map(|sql| physical(context, query::expression(context, sql.clone(), &schema)?, &schema)).transpose()?;
    Ok(OnConflict::Update { row, filter })
}

/// The existing row under the table's name, then the new one under `excluded`.
fn conflict_schema(context: &Context<'_>, table: &Object) -> Result<DFSchema> {
    let side = |name: &str| DFSchema::try_from_qualified_schema(TableReference::bare(name), &table.schema());
    let joined = side(&table.name).and_then(|old| old.join(&side("excluded")?));
    joined.map_err(|e| in_text(e, &context.text))
}

/// An expression over `schema`, coerced and ready to be evaluated.
fn physical(context: &Context<'_>, expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let state = context.planner.session_state();
    let rewritten = expr
        .transform_up(|e| PostgresTypes.rewrite(e, schema, state.config_options()))
        .and_then(|e| exact_casts::coerced(e.data, schema))
        .and_then(|e| state.create_physical_expr(e, schema));
    rewritten.map_err(|e| in_text(e, &context.text))
}

fn assignments(context: &Context<'_>, assignments: &[Assignment], table: &Object) -> Result<Vec<(usize, SqlExpr)>> {
    let mut values: Vec<(usize, SqlExpr)> = Vec::new();
    for assignment in assignments {
        let AssignmentTarget::ColumnName(target) = &assignment.target else {
            return Err(Error::unsupported("SET (a, b) = … is not supported").with_hint("SET a = …, b = …"));
        };
        let ident = target.0.last().and_then(ObjectNamePart::as_ident).ok_or_else(|| syntax(format!("{target} is no column")))?;
        let name = Name { text: folded(ident), place: context.text.place(ident.span) };
        let index = find_column(&table.columns, &name)?;
        if values.iter().any(|(other, _)| *other == index) {
            return Err(name.blame(Error::invalid(format!("multiple assignments to same column \"{}\"", name.text)).with_sqlstate("42601")));
        }
        let value = if is_default(&assignment.value) { default_sql(&table.columns[index])? } else { assignment.value.clone() };
        values.push((index, value));
    }
    Ok(values)
}

/// `SELECT projection FROM from WHERE selection`.
fn select(projection: Vec<SelectItem>, from: TableWithJoins, selection: Option<SqlExpr>) -> Result<Query> {
    let mut query = parsed_query("SELECT 1")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let select: &mut Select = select;
        select.projection = projection;
        select.from = vec![from];
        select.selection = selection;
    }
    Ok(*query)
}

/// The table a statement writes to, and the name its columns are known by there.
fn target(context: &Context<'_>, from: &TableWithJoins) -> Result<(Arc<Object>, Name, Ident)> {
    let TableFactor::Table { name, alias, .. } = &from.relation else {
        return Err(Error::unsupported("writing to anything but a table is not supported"));
    };
    if !from.joins.is_empty() {
        return Err(Error::unsupported("writing to a join is not supported"));
    }
    let name = name_of(context, name)?;
    let known_as = alias.as_ref().map_or_else(|| Ident::with_quote('"', &name.text), |a| a.name.clone());
    Ok((table(context, &name)?, name, known_as))
}

fn column_item(known_as: &Ident, column: &Column, prefix: &str) -> SelectItem {
    let expr = SqlExpr::CompoundIdentifier(vec![known_as.clone(), Ident::with_quote('"', &column.name)]);
    SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', format!("{prefix}{}", column.name)) }
}

pub(super) fn delete(context: &Context<'_>, sql: &Sql) -> Result<Bound> {
    let Sql::Delete(delete) = sql else { return Err(Error::bug("no DELETE")) };
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = from.as_slice() else { return Err(syntax("DELETE is from one table")) };
    if delete.using.is_some() {
        return Err(Error::unsupported("DELETE … USING is not supported").with_hint("WHERE … IN (SELECT …)"));
    }
    let (table, name, known_as) = target(context, from)?;
    refuse_append_only(&table, &name, "DELETE")?;
    let items = table.columns.iter().map(|c| column_item(&known_as, c, "")).collect();
    let rows = query::plan(context, &select(items, from.clone(), delete.selection.clone())?)?;
    let returning = delete.returning.as_ref().map(|items| returning(context, &table, items)).transpose()?;
    Ok(Bound::Delete(Box::new(Changed { table, rows, returning })))
}

pub(super) fn update(context: &Context<'_>, sql: &Sql) -> Result<Bound> {
    let Sql::Update(update) = sql else { return Err(Error::bug("no UPDATE")) };
    if update.from.is_some() {
        return Err(Error::unsupported("UPDATE … FROM is not supported").with_hint("SET column = (SELECT …)"));
    }
    let (table, name, known_as) = target(context, &update.table)?;
    refuse_append_only(&table, &name, "UPDATE")?;
    let values = assignments(context, &update.assignments, &table)?;
    let mut items: Vec<SelectItem> = table.columns.iter().map(|c| column_item(&known_as, c, "")).collect();
    for (index, column) in table.columns.iter().enumerate() {
        items.push(match values.iter().find(|(at, _)| *at == index) {
            Some((_, value)) => {
                SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', format!("{NEW}{}", column.name)) }
            }
            None => column_item(&known_as, column, NEW),
        });
    }
    let plan = query::plan(context, &select(items, update.table.clone(), update.selection.clone())?)?;
    let old = table.columns.len();
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().take(old).map(Expr::Column).collect();
    for (index, column) in table.columns.iter().enumerate() {
        exprs.push(casts::assign(&plan, old + index, column)?.alias(format!("{NEW}{}", column.name)));
    }
    let rows = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(|e| in_text(e, &context.text))?;
    let returning = update.returning.as_ref().map(|items| returning(context, &table, items)).transpose()?;
    Ok(Bound::Update(Box::new(Changed { table, rows, returning })))
}

/// RETURNING as expressions over the table's columns.
fn returning(context: &Context<'_>, table: &Object, items: &[SelectItem]) -> Result<Returning> {
    let mut from = parsed_query(&format!("SELECT 1 FROM \"{}\"", table.name.replace('"', "\"\"")))?;
    if let SetExpr::Select(select) = from.body.as_mut() {
        select.projection = items.to_vec();
    }
    let plan = query::plan(context, &from)?;
    let mut exprs = Vec::new();
    let schema = DFSchema::try_from_qualified_schema(TableReference::bare(table.name.as_str()), &table.schema())
        .map_err(|e| in_text(e, &context.text))?;
    let LogicalPlan::Projection(projection) = &plan else { return Err(Error::unsupported("this RETURNING is not supported")) };
    for expr in &projection.expr {
        exprs.push(physical(context, expr.clone().unalias(), &schema)?);
    }
    Ok(Returning { schema: Arc::new(plan.schema().as_arrow().clone()), exprs })
}

/// The values of constant expressions: arguments of EXECUTE.
pub(super) fn constant(context: &Context<'_>, sql: &SqlExpr) -> Result<ScalarValue> {
    let expr = query::expression(context, sql.clone(), &DFSchema::empty())?;
    let physical = physical(context, expr, &DFSchema::empty())?;
    let row = datafusion::arrow::array::RecordBatch::try_new_with_options(
        Arc::new(datafusion::arrow::datatypes::Schema::empty()),
        Vec::new(),
        &datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    let value = physical.evaluate(&row).and_then(|v| ScalarValue::try_from_array(&v.into_array(1)?, 0));
    value.map_err(|e| in_text(e, &context.text))
}
