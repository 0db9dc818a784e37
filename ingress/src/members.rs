//! The members of a JSON object, found without understanding what is in them.
//!
//! Most bytes of a body are in long strings and lists of tokens, which are passed over by the width of a vector register. What
//! is no JSON is noticed only as far as that shows where members end; the engine reads the rest.

mod turns;

use std::ops::Range;

use memchr::{memchr2, memchr3};

pub(crate) use turns::Turns;

/// One member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Between its quotes. Has no escapes.
    pub(crate) name: &'a [u8],
    /// Where in the body its value stands, without the space around it.
    pub(crate) value: Range<usize>,
    /// Where turns of a conversation are in the value, if it is a list. To find them costs no second look at it.
    pub(crate) turns: Turns,
}

/// What is found where a member should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclear;

/// The members of the object that is `body`, in their order, until something is unclear.
pub(crate) fn members(body: &[u8]) -> Members<'_> {
    Members { scanner: Scanner { body, at: 0 }, place: Place::Before, is_all: true }
}

/// The members of the object that `body` begins with, whatever comes after it; see [`Members::end`].
pub(crate) fn first_members(body: &[u8]) -> Members<'_> {
    Members { is_all: false, ..members(body) }
}

/// See [`members`].
pub(crate) struct Members<'a> {
    scanner: Scanner<'a>,
    place: Place,
    /// Nothing but space may come after the object.
    is_all: bool,
}

impl Members<'_> {
    /// Right behind the object, once there are no more members.
    pub(crate) const fn end(&self) -> usize {
        self.scanner.at
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, Unclear>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut next = self.scanner.next(&mut self.place);
        if matches!(next, Ok(None)) && self.is_all && self.scanner.token().is_some() {
            next = Err(Unclear);
        }
        if next.is_err() {
            (self.place, self.is_all) = (Place::After, false);
        }
        next.transpose()
    }
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
                return Ok(None);
            }
            Some(b',') if !is_first => self.at += 1,
            _ if is_first => {}
            _ => return Err(Unclear),
        }
        self.expect(b'"')?;
        let name = name(&self.body[self.at..]).ok_or(Unclear)?;
        self.at += name.len() + 1;
        self.expect(b':')?;
        let first = self.token().ok_or(Unclear)?;
        let (start, mut turns) = (self.at, Turns::default());
        self.at = self.value_end(first, &mut turns).ok_or(Unclear)?;
        Ok(Some(Member { name, value: start..self.at, turns }))
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

    /// Right behind the value that begins with `first`, where the scanner is. Notes the `turns` in it.
    fn value_end(&self, first: u8, turns: &mut Turns) -> Option<usize> {
        match first {
            b'"' => Some(string_end(self.body, self.at + 1)? + 1),
            b'{' => bracket_end(self.body, self.at, b'{', b'}', |_| {}),
            b'[' => turns.read(&self.body[self.at..]).map(|end| self.at + end),
            b',' | b':' | b'}' | b']' => None,
            _ => {
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                Some(self.at + self.body[self.at..].iter().position(is_end)?)
            }
        }
    }
}

/// The name of a member, whose first byte is that of `bytes`. Names are short: to look for their end with vectors costs more.
fn name(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if bytes[end] == b'"' { Some(&bytes[..end]) } else { None }
}

/// Right behind the bracket that closes the one at `at`. Only this kind is counted: in a value that is JSON the other one is
/// balanced within it. `see` is told where each string begins, with its quote.
fn bracket_end(body: &[u8], mut at: usize, open: u8, close: u8, mut see: impl FnMut(usize)) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        let is_it = |byte| byte == b'"' || byte == open || byte == close;
        at += find(body.get(at..)?, is_it, |rest| memchr3(b'"', open, close, rest))?;
        let byte = body[at];
        at += 1;
        if byte == b'"' {
            see(at - 1);
            at = string_end(body, at)? + 1;
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

/// Where the quote is that ends the string within which `at` is.
fn string_end(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += find(body.get(at..)?, |byte| byte == b'"' || byte == b'\\', |rest| memchr2(b'"', b'\\', rest))?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Where the first byte is that `is_it`, which `far` finds in long strings. Most are near, and a search with vectors takes as
/// long to begin as it takes to look at a few one by one.
fn find(bytes: &[u8], is_it: impl Fn(u8) -> bool, far: impl FnOnce(&[u8]) -> Option<usize>) -> Option<usize> {
    const NEAR: usize = 16;
    let (near, rest) = bytes.split_at(bytes.len().min(NEAR));
    near.iter().position(|byte| is_it(*byte)).or_else(|| far(rest).map(|at| near.len() + at))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::value::RawValue;

    use super::*;

    fn read(body: &str) -> Result<Vec<(String, String)>, Unclear> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        members(body.as_bytes())
            .map(|member| member.map(|Member { name, value, .. }| (text(name), text(&body.as_bytes()[value]))))
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
