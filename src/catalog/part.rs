//! The relations of an object: its rows, and those that exist beside them without being declared.

use headwater_state::TableId;
use headwater_types::ObjectId;
use serde::{Deserialize, Serialize};

/// Which relation of an object: its rows, or one of those that exist beside it without being declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Part {
    /// `name`
    #[default]
    Rows,
    /// `name$late`: rows that came after their window had closed.
    Late,
    /// `name$errors`: records and rows that could not be taken, with the reason.
    Errors,
}

impl Part {
    /// What stands after the object's name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Part::Rows => "",
            Part::Late => "$late",
            Part::Errors => "$errors",
        }
    }

    /// Which relation of its object table `table` keeps.
    #[must_use]
    pub fn at(table: TableId) -> Self {
        match table.number {
            TableId::LATE => Part::Late,
            TableId::ERRORS => Part::Errors,
            _ => Part::Rows,
        }
    }

    /// Where this relation of `object` is kept.
    #[must_use]
    pub fn of(self, object: ObjectId) -> TableId {
        let number = match self {
            Part::Rows => TableId::ROWS,
            Part::Late => TableId::LATE,
            Part::Errors => TableId::ERRORS,
        };
        TableId::new(object, number)
    }
}
