//! Bytes as text and back: `encode` and `decode` in base64, hex and escape form, `convert_from` and `convert_to` in UTF-8.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

/// The digits of base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// So many characters of base64 PostgreSQL puts on a line.
const LINE: usize = 76;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Encode,
    Decode,
    ConvertFrom,
    ConvertTo,
}

/// One of the functions: bytes or text, and the name of a form.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Encoding {
    function: Function,
    signature: Signature,
}

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [Function::Encode, Function::Decode, Function::ConvertFrom, Function::ConvertTo];
    let one =
        |function| Arc::new(ScalarUDF::new_from_impl(Encoding { function, signature: Signature::user_defined(Volatility::Immutable) }));
    all.into_iter().map(one).collect()
}

impl Encoding {
    fn takes_bytes(&self) -> bool {
        matches!(self.function, Function::Encode | Function::ConvertFrom)
    }
}

impl ScalarUDFImpl for Encoding {
    fn name(&self) -> &str {
        match self.function {
            Function::Encode => "encode",
            Function::Decode => "decode",
            Function::ConvertFrom => "convert_from",
            Function::ConvertTo => "convert_to",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let text = |t: &DataType| t.is_null() || *t == DataType::Utf8;
        match args {
            [value, form] if text(form) && (text(value) || (self.takes_bytes() && *value == DataType::Binary)) => {
                Ok(vec![if self.takes_bytes() { DataType::Binary } else { DataType::Utf8 }, DataType::Utf8])
            }
            _ => plan_err!("Function '{}' does not take these arguments", self.name()),
        }
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(if self.takes_bytes() { DataType::Utf8 } else { DataType::Binary })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| {
            let forms: &StringArray = arrays[1].as_string();
            if self.takes_bytes() {
                let bytes: &BinaryArray = arrays[0].as_binary();
                let texts = bytes.iter().zip(forms).map(|(value, form)| value.zip(form).map(|(v, f)| self.to_text(v, f)).transpose());
                return Ok(Arc::new(texts.collect::<Result<StringArray>>()?) as ArrayRef);
            }
            let texts: &StringArray = arrays[0].as_string();
            let bytes = texts.iter().zip(forms).map(|(value, form)| value.zip(form).map(|(v, f)| self.to_bytes(v, f)).transpose());
            Ok(Arc::new(bytes.collect::<Result<Vec<_>>>()?.iter().map(Option::as_deref).collect::<BinaryArray>()))
        })
    }
}

impl Encoding {
    fn to_text(&self, bytes: &[u8], form: &str) -> Result<String> {
        match (self.function, form.to_lowercase().as_str()) {
            (Function::Encode, "base64") => Ok(base64(bytes)),
            (Function::Encode, "hex") => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            (Function::Encode, "escape") => Ok(escaped(bytes)),
            (Function::ConvertFrom, "utf8" | "utf-8") => {
                let invalid = |error: std::str::Utf8Error| {
                    let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                    DataFusionError::Execution(format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"))
                };
                std::str::from_utf8(bytes).map(str::to_owned).map_err(invalid)
            }
            _ => Err(self.unknown(form)),
        }
    }

    fn to_bytes(&self, text: &str, form: &str) -> Result<Vec<u8>> {
        let wrong = |what: &str| DataFusionError::Execution(format!("invalid {what}: \"{text}\""));
        match (self.function, form.to_lowercase().as_str()) {
            (Function::Decode, "base64") => from_base64(text).ok_or_else(|| wrong("base64 sequence")),
            (Function::Decode, "hex") => {
                let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                super::parse::bytes(&format!("\\x{digits}")).ok_or_else(|| wrong("hexadecimal data"))
            }
            // Text that begins with \x is no hex here.
            (Function::Decode, "escape") if text.starts_with("\\x") => Err(wrong("escape sequence")),
            (Function::Decode, "escape") => super::parse::bytes(text).ok_or_else(|| wrong("escape sequence")),
            (Function::ConvertTo, "utf8" | "utf-8") => Ok(text.as_bytes().to_vec()),
            _ => Err(self.unknown(form)),
        }
    }

    fn unknown(&self, form: &str) -> DataFusionError {
        let known = match self.function {
            Function::Encode | Function::Decode => "base64, hex, escape",
            Function::ConvertFrom | Function::ConvertTo => "UTF8",
        };
        DataFusionError::Execution(format!("unrecognized encoding: \"{form}\" (there are: {known})"))
    }
}

/// Three bytes as four digits, the last ones filled up with `=`.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        if text.len() % (LINE + 1) == LINE {
            text.push('\n');
        }
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            text.push(if at <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let last = digits.len().saturating_sub(4);
    for (at, group) in digits.chunks(4).enumerate() {
        let filled = if at * 4 == last { group.iter().rev().take_while(|b| **b == b'=').count() } else { 0 };
        if filled > 2 {
            return None;
        }
        let value = |digit: &u8| DIGITS.iter().position(|d| d == digit).and_then(|at| u32::try_from(at).ok());
        let bits = group[..4 - filled].iter().try_fold(0_u32, |bits, digit| Some(bits << 6 | value(digit)?))?;
        let whole = (bits << (6 * filled)).to_be_bytes();
        bytes.extend_from_slice(whole.get(1..4 - filled)?);
    }
    Some(bytes)
}

/// ASCII as it is but `\` as `\\`, zero and what is beyond ASCII as `\nnn`.
fn escaped(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        0 | 128.. => format!("\\{byte:03o}"),
        plain => char::from(*plain).to_string(),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_filled_up_and_read_back() {
        for (bytes, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64(&[0; 60]).lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
        for wrong in ["Y", "YQ=", "Y===", "YQ==YQ==", "Y-=="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn escapes_are_those_of_postgresql() {
        assert_eq!(escaped(b"a\\b\0\xc3\n"), "a\\\\b\\000\\303\n");
    }
}
