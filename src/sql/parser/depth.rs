//! How deep the tree of a statement is, told from its tokens: a chain of operators nests as deep as it is long, and sqlparser does not count those.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use headwater_types::{Error, Result};

/// A deeper tree is refused, since the functions that plan, run and drop it call themselves as often.
pub(crate) const DEPTH_MAX: usize = 2_000;

/// How tightly operators bind, from set operations and joins to casts.
const CLASSES: usize = 6;

/// What stands between two parentheses, or a CASE and its END.
#[derive(Default)]
struct Level {
    /// Operators of each class in the chain that is being read.
    operators: [usize; CLASSES],
    /// The deepest operand of each class so far.
    operands: [usize; CLASSES],
    /// The deepest parenthesis of the operand that is being read.
    inner: usize,
}

impl Level {
    /// The depth of what binds as tightly as `class` or tighter.
    fn depth(&self, class: usize) -> usize {
        (class..CLASSES).rev().fold(self.inner, |inner, c| self.operators[c] + self.operands[c].max(inner))
    }

    /// An operand of `class` ends here.
    fn end_operand(&mut self, class: usize) {
        self.operands[class] = self.operands[class].max(self.depth(class + 1));
        for tighter in class + 1..CLASSES {
            (self.operators[tighter], self.operands[tighter]) = (0, 0);
        }
        self.inner = 0;
    }
}

enum Role {
    Opens,
    Closes,
    /// Ends an operand of everything: a comma, the word of a clause.
    Separates,
    /// An operator of a class.
    Operator(usize),
    Other,
}

fn role(token: &Token) -> Role {
    match token {
        Token::LParen => Role::Opens,
        Token::RParen => Role::Closes,
        Token::Comma => Role::Separates,
        Token::Word(word) if word.quote_style.is_none() => word_role(word.keyword),
        Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => Role::Operator(3),
        Token::DoubleColon | Token::LBracket => Role::Operator(5),
        Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => Role::Other,
        Token::Whitespace(_) | Token::Period | Token::RBracket | Token::EOF => Role::Other,
        _ => Role::Operator(4),
    }
}

fn word_role(keyword: Keyword) -> Role {
    use Keyword as K;
    match keyword {
        K::CASE => Role::Opens,
        K::END => Role::Closes,
        K::UNION | K::INTERSECT | K::EXCEPT | K::JOIN => Role::Operator(0),
        K::OR => Role::Operator(1),
        K::AND => Role::Operator(2),
        K::NOT | K::IS | K::IN | K::LIKE | K::ILIKE | K::SIMILAR | K::BETWEEN => Role::Operator(3),
        K::COLLATE | K::AT => Role::Operator(4),
        K::SELECT | K::FROM | K::WHERE | K::GROUP | K::HAVING | K::ORDER | K::ON | K::LIMIT | K::WHEN | K::THEN | K::ELSE => {
            Role::Separates
        }
        _ => Role::Other,
    }
}

/// At least the depth of the tree that `tokens` become.
fn depth(tokens: &[TokenWithSpan]) -> usize {
    let (mut levels, mut level) = (Vec::new(), Level::default());
    for token in tokens {
        match role(&token.token) {
            Role::Opens => levels.push(std::mem::take(&mut level)),
            Role::Closes => {
                if let Some(outer) = levels.pop() {
                    let inside = std::mem::replace(&mut level, outer);
                    level.inner = level.inner.max(inside.depth(0) + 1);
                }
            }
            Role::Separates => level.end_operand(0),
            Role::Operator(class) => {
                level.end_operand(class);
                level.operators[class] += 1;
            }
            Role::Other => {}
        }
    }
    levels.iter().rev().fold(level.depth(0), |inner, outer: &Level| outer.depth(0).max(outer.operators.iter().sum::<usize>() + inner + 1))
}

/// # Errors
/// 54001 for a statement whose tree would be too deep.
pub(crate) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    if depth(tokens) > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
}

/// The error of a statement that is nested too deep.
pub(crate) fn too_deep() -> Error {
    let error = Error::limit(format!("statement is too complex: its expressions or queries are nested deeper than {DEPTH_MAX} levels"));
    let hint = "a chain of operators is as deep as it is long: write a long OR as IN (…), join with a table of the values, or make several statements";
    error.with_sqlstate("54001").with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::depth;
    use crate::parser::DIALECT;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    fn of(sql: &str) -> usize {
        depth(&Tokenizer::new(&DIALECT, sql).tokenize_with_location().expect("tokens"))
    }

    #[test]
    fn chains_are_as_deep_as_they_are_long() {
        assert_eq!(of(&format!("select {}", vec!["1"; 100].join(" + "))), 99);
        assert_eq!(of(&format!("select {}", vec!["a = 1"; 100].join(" or "))), 100);
        assert_eq!(of(&vec!["select a + 1"; 100].join(" union all ")), 100);
        assert_eq!(of(&format!("select {}1{} + 2", "(".repeat(50), ")".repeat(50))), 51);
        assert_eq!(of(&format!("select (1 + {}", "(".repeat(50))), 51 + 1);
    }

    #[test]
    fn lists_are_flat() {
        assert_eq!(of(&format!("select {}", vec!["a + 1"; 1000].join(", "))), 1);
        assert_eq!(of(&format!("insert into t values {}", vec!["(1, 'a', -2)"; 1000].join(", "))), 2);
        assert_eq!(of(&format!("select case {} end", "when a = 1 then b ".repeat(1000))), 2);
        assert_eq!(of(&format!("select a in ({})", vec!["1"; 1000].join(", "))), 2);
    }
}
