//! What is remembered of a script while it runs, and kept of it for the next time.

use std::collections::HashMap;

use headwater_state::{Family, Writes};
use headwater_types::ObjectId;

/// What a session must know while it runs a script.
#[derive(Default)]
pub(crate) struct Script {
    name: String,
    /// Views created so far, whose sources are held until the script needs their rows.
    pub views: Vec<ObjectId>,
    /// How often each text of a statement that writes has come.
    came: HashMap<String, usize>,
    /// The keys of statements that write, until they are committed with what they wrote.
    unwritten: Vec<Vec<u8>>,
}

impl Script {
    /// The script called `name`, of which nothing was run yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Where it is noted that a statement was run: script, how-manieth of this text in it, text. What stands before it does not matter.
    ///
    /// ```text
    /// script/<name> 0 <occurrence, 6 digits> 0 <text>
    /// ```
    pub fn key(&mut self, text: &str) -> Vec<u8> {
        let came = self.came.entry(text.to_owned()).or_default();
        *came += 1;
        format!("script/{}\0{came:06}\0{text}", self.name).into_bytes()
    }

    /// The statement of `key` has begun.
    pub fn wrote(&mut self, key: Vec<u8>) {
        self.unwritten.push(key);
    }

    /// The keys of the statements whose writes are now committed, to be committed with them.
    pub fn take_record(&mut self) -> Writes {
        let mut record = Writes::new();
        for key in self.unwritten.drain(..) {
            record.put(Family::Meta, key, Vec::new());
        }
        record
    }
}
