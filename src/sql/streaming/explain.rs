//! The operators of a view as text, readers above what they read, with what was derived of each.

use datafusion::arrow::datatypes::SchemaRef;
use headwater_catalog::{Catalog, Object, Part};
use headwater_operators::{Bound, Input, Plan, Properties};

/// One line an operator, indented under its reader.
pub(crate) fn explain(plan: &Plan, catalog: &Catalog) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(root) = plan.nodes.len().checked_sub(1) {
        node(plan, root, 0, catalog, &mut lines);
    }
    lines
}

fn node(plan: &Plan, at: usize, depth: usize, catalog: &Catalog, lines: &mut Vec<String>) {
    let this = &plan.nodes[at];
    let describe = super::tidy::tidy(&this.spec.describe());
    let name = if describe.is_empty() { this.spec.name().to_owned() } else { format!("{}: {describe}", this.spec.name()) };
    let late = if plan.refusing == Some(at) { "; refuses late rows" } else { "" };
    lines.push(format!("{}{name}  [{}{late}]", "  ".repeat(depth), properties(&this.properties, &this.schema)));
    for input in &this.inputs {
        match input {
            Input::Node(below) => node(plan, *below, depth + 1, catalog, lines),
            Input::Relation(table) => {
                let line =
                    catalog.get(table.object).map_or_else(|| format!("object {}", table.object), |o| input_line(o, Part::at(*table)));
                lines.push(format!("{}{line}", "  ".repeat(depth + 1)));
            }
        }
    }
}

fn input_line(object: &Object, part: Part) -> String {
    match part {
        Part::Rows => relation_line(object),
        Part::Late | Part::Errors => format!("{}{}  [append-only]", object.name, part.suffix()),
    }
}

/// A source, table or view with what is known of it.
pub(crate) fn relation_line(object: &Object) -> String {
    let known = Properties {
        append_only: object.is_append_only(),
        key: object.key().map(<[usize]>::to_vec),
        watermarked: object.watermarked(),
        bound: Bound::Stateless,
    };
    format!("{} {}  [{}]", object.kind.noun(), object.name, properties(&known, &object.schema()))
}

/// `append-only; key: a, b; watermark: at; state: unbounded`
pub(crate) fn properties(properties: &Properties, schema: &SchemaRef) -> String {
    let names = |columns: &[usize]| columns.iter().map(|&c| schema.field(c).name().as_str()).collect::<Vec<_>>().join(", ");
    let mut parts = vec![if properties.append_only { "append-only" } else { "changes" }.to_owned()];
    match properties.key.as_deref() {
        Some([]) => parts.push("one row".to_owned()),
        Some(key) => parts.push(format!("key: {}", names(key))),
        None => {}
    }
    if !properties.watermarked.is_empty() {
        parts.push(format!("watermark: {}", names(&properties.watermarked)));
    }
    match &properties.bound {
        Bound::Stateless => {}
        Bound::Unbounded => parts.push("state: unbounded".to_owned()),
        Bound::Watermark(column) => parts.push(format!("state: until {column} closes")),
    }
    parts.join("; ")
}
