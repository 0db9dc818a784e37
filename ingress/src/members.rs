//! The members of a JSON object, found without understanding what is in them.
//!
//! Most bytes of a body are in long strings and lists of tokens, which are passed over by the width of a vector register. What
//! is no JSON is noticed only as far as that shows where members end; the engine reads the rest.

use std::ops::Range;

use memchr::{memchr2, memchr3};

/// One member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Between its quotes. Has no escapes.
    pub(crate) name: &'a [u8],
    /// Where in the body its value stands, without the space around it.
    pub(crate) value: Range<usize>,
}

/// What is found where a member should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclear;

/// The members of the object that is `body`, in their order, until something is unclear.
pub(crate) fn members<'a>(body: &'a [u8]) -> impl Iterator<Item = Result<Member<'a>, Unclear>> {
    let mut scanner = Scanner { body, at: 0 };
    let mut place = Place::Before;
    std::iter::from_fn(move || {
        let next = scanner.next(&mut place);
        if next.is_err() {
            place = Place::After;
        }
        next.transpose()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    After,
}

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn next(&mut self, place: &mut Place) -> Result<Option<Member<'a>>, Unclear> {
        let is_first = match *place {
            Place::After => return Ok(None),
            Place::Within => false,
            Place::Before => {
                self.expect(b'{')?;
                *place = Place::Within;
                true
            }
        };
        match self.token() {
            Some(b'}') => {
                self.at += 1;
                *place = Place::After;
                return if self.token().is_none() { Ok(None) } else { Err(Unclear) };
            }
            Some(b',') if !is_first => self.at += 1,
            _ if is_first => {}
            _ => return Err(Unclear),
        }
        self.expect(b'"')?;
        let name = self.at..self.string_end().ok_or(Unclear)?;
        self.at = name.end + 1;
        let name = &self.body[name];
        if name.contains(&b'\\') {
            return Err(Unclear);
        }
        self.expect(b':')?;
        let first = self.token().ok_or(Unclear)?;
        let start = self.at;
        self.at = self.value_end(first).ok_or(Unclear)?;
        Ok(Some(Member { name, value: start..self.at }))
    }

    /// The next byte that is no space, which stands where the scanner then is.
    fn token(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unclear> {
        if self.token() != Some(byte) {
            return Err(Unclear);
        }
        self.at += 1;
        Ok(())
    }

    /// Where the quote is that ends the string within which the scanner is.
    fn string_end(&self) -> Option<usize> {
        string_end(self.body, self.at)
    }

    /// Right behind the value that begins with `first`, where the scanner is.
    fn value_end(&self, first: u8) -> Option<usize> {
        match first {
            b'"' => Some(string_end(self.body, self.at + 1)? + 1),
            b'{' => self.bracket_end(b'{', b'}'),
            b'[' => self.bracket_end(b'[', b']'),
            b',' | b':' | b'}' | b']' => None,
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                Some(self.at + self.body[self.at..].iter().position(is_end)?)
            }
        }
    }

    /// Right behind the bracket that closes the one where the scanner is. Only this kind is counted: in a value that is JSON
    /// the other one is balanced within it.
    fn bracket_end(&self, open: u8, close: u8) -> Option<usize> {
        let (mut at, mut depth) = (self.at, 0_usize);
        loop {
            at += memchr3(b'"', open, close, &self.body[at..])?;
            let byte = self.body[at];
            at += 1;
            if byte == b'"' {
                at = string_end(self.body, at)? + 1;
            } else if byte == open {
                depth += 1;
            } else {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
    }
}

/// Where the quote is that ends the string within which `at` is.
fn string_end(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::value::RawValue;

    use super::*;

    fn read(body: &str) -> Result<Vec<(String, String)>, Unclear> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        members(body.as_bytes())
            .map(|member| member.map(|Member { name, value }| (text(name), text(&body.as_bytes()[value]))))
            .collect()
    }

    #[test]
    fn what_is_no_object_is_unclear() {
        for body in ["", " ", "[]", "\"a\"", "{", "{]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 2}"] {
            assert_eq!(read(body), Err(Unclear), "{body}");
        }
        for body in [r#"{"a":"b}"#, r#"{"a":"\"}"#, r#"{"a":[[]}"#, r#"{"a":1} x"#, r#"{"\u0061":1}"#, "{\"a\":1"] {
            assert_eq!(read(body), Err(Unclear), "{body}");
        }
        assert_eq!(read(" { } "), Ok(vec![]));
    }

    /// A JSON value as text, with whitespace wherever it may be.
    pub(crate) fn json() -> impl Strategy<Value = String> {
        let string = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
        let scalar = Just("null".to_owned());
        let leaf = prop_oneof![scalar, any::<f64>().prop_map(|n| serde_json::to_string(&n).unwrap()), string.clone()];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let member = (string.clone(), inner.clone()).prop_map(|(name, value)| format!("{name} :\n{value}"));
            prop_oneof![
                vec(inner, 0..4).prop_map(|list| format!("[ {} ]", list.join(" , "))),
                vec(member, 0..4).prop_map(|members| format!("{{\t{}}}", members.join(", "))),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_those_that_a_whole_parser_finds(values in vec(json(), 0..5)) {
            let members: Vec<_> = values.iter().enumerate().map(|(i, value)| format!("\"m{i}\" : {value}\r")).collect();
            let body = format!(" {{ {} }}\n", members.join(",\t"));
            let all: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(&body).unwrap();
            let expected: Vec<_> = all.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
            prop_assert_eq!(read(&body), Ok(expected));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            members(&bytes).for_each(drop);
            let braced = [b"{\"a\":[", &bytes[..], b"}"].concat();
            members(&braced).for_each(drop);
        }
    }
}
