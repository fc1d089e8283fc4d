//! Bytes as text and back: `encode` and `decode` in base64, hex and escape form, `convert_from` and `convert_to` in UTF-8.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

/// PostgreSQL writes lines of 76 characters: so many bytes.
const LINE_BYTES: usize = 57;

/// Filled up with `=`; like PostgreSQL it does not look at bits of the last digit that belong to no byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

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

fn base64(bytes: &[u8]) -> String {
    bytes.chunks(LINE_BYTES).map(|line| BASE64.encode(line)).collect::<Vec<_>>().join("\n")
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(digits).ok()
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
