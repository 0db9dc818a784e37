//! Forms (`multipart/form-data`, RFC 7578), as far as a gateway must understand them: where the fields `model` and
//! `stream` stand. Nothing of the body is copied, and a file in it is only searched for its end.

use std::ops::Range;

use memchr::memmem;

/// Most parts of one form. A transcription has a dozen fields, some of which repeat.
const PARTS_MAX: usize = 128;
/// Longest head of one part in bytes; it names a field and perhaps a file.
const PART_HEAD_MAX: usize = 4 << 10;
/// Longest boundary in bytes (RFC 2046, section 5.1.1).
const BOUNDARY_MAX: usize = 70;

/// Why a form cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("its content type is not `multipart/form-data` with a boundary")]
    ContentType,
    #[error("it is not divided by the boundary that its content type names, or breaks off")]
    Parts,
    #[error("one of its parts has no proper head of at most {PART_HEAD_MAX} bytes")]
    PartHead,
    #[error("it has more than {PARTS_MAX} parts")]
    TooManyParts,
    #[error("it has two fields `{0}`")]
    Twice(&'static str),
}

/// Where in a form the fields stand that a gateway needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) model: Option<Range<usize>>,
    pub(super) stream: Option<Range<usize>>,
}

/// The fields of `body`, whose content type is given. One that decides and appears twice is an error, as a file or not,
/// because engines do not agree on which one counts.
pub(super) fn spans(content_type: &[u8], body: &[u8]) -> Result<Spans, FormError> {
    let mut spans = Spans::default();
    let mut parts = Parts::new(boundary(content_type)?, body)?;
    for _ in 0..=PARTS_MAX {
        let Some(Part { head, content }) = parts.next()? else { return Ok(spans) };
        let (name, field) = match field_name(head)? {
            Some(b"model") => ("model", &mut spans.model),
            Some(b"stream") => ("stream", &mut spans.stream),
            _ => continue,
        };
        if field.replace(content).is_some() {
            return Err(FormError::Twice(name));
        }
    }
    Err(FormError::TooManyParts)
}

/// One part of a form.
struct Part<'a> {
    head: &'a [u8],
    /// Where in the body it stands.
    content: Range<usize>,
}

/// The parts of a form, one after the other.
struct Parts<'a> {
    body: &'a [u8],
    /// A line end, `--` and the boundary.
    delimiter: memmem::Finder<'static>,
    /// Right behind a delimiter.
    at: usize,
}

impl<'a> Parts<'a> {
    /// Before the first part. What stands before it means nothing.
    fn new(boundary: &[u8], body: &'a [u8]) -> Result<Self, FormError> {
        let delimiter = memmem::Finder::new(&[b"\r\n--", boundary].concat()).into_owned();
        let length = delimiter.needle().len();
        let at = if body.starts_with(&delimiter.needle()[2..]) {
            length - 2
        } else {
            delimiter.find(body).ok_or(FormError::Parts)? + length
        };
        Ok(Self { body, delimiter, at })
    }

    /// The next one, or `None` at the end.
    fn next(&mut self) -> Result<Option<Part<'a>>, FormError> {
        let rest = &self.body[self.at..];
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        let padding = rest.iter().take_while(|byte| b" \t".contains(byte)).count();
        let rest = &rest[padding..];
        if !rest.starts_with(b"\r\n") {
            return Err(FormError::Parts);
        }
        let length = memmem::find(&rest[..rest.len().min(PART_HEAD_MAX)], b"\r\n\r\n").ok_or(FormError::PartHead)?;
        let start = self.at + padding + length + 4;
        let end = start + self.delimiter.find(&self.body[start..]).ok_or(FormError::Parts)?;
        self.at = end + self.delimiter.needle().len();
        Ok(Some(Part { head: &rest[..length], content: start..end }))
    }
}

/// The boundary that a content type names.
fn boundary(content_type: &[u8]) -> Result<&[u8], FormError> {
    let (essence, parameters) = split_once(content_type, b';').ok_or(FormError::ContentType)?;
    let boundary = parameter(parameters, b"boundary").filter(|boundary| (1..=BOUNDARY_MAX).contains(&boundary.len()));
    match boundary {
        Some(boundary) if essence.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") => Ok(boundary),
        Some(_) | None => Err(FormError::ContentType),
    }
}

/// The name of the field whose part has this head, if it has one. Continued lines have been obsolete for long, and are
/// read in more than one way.
fn field_name(head: &[u8]) -> Result<Option<&[u8]>, FormError> {
    let mut disposition = None;
    for line in head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).skip(1) {
        let (name, value) = split_once(line, b':').ok_or(FormError::PartHead)?;
        if line.first().is_some_and(u8::is_ascii_whitespace) {
            return Err(FormError::PartHead);
        }
        if name.eq_ignore_ascii_case(b"content-disposition") && disposition.replace(value).is_some() {
            return Err(FormError::PartHead);
        }
    }
    Ok(disposition.and_then(|value| parameter(split_once(value, b';')?.1, b"name")))
}

/// The value of the first of `parameters` called `name`, as it is written between quotes or without any.
fn parameter<'a>(mut parameters: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    loop {
        let (key, rest) = split_once(parameters, b'=')?;
        let rest = rest.trim_ascii_start();
        let (value, rest) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (&quoted[..end], split_once(&quoted[end..], b';').map_or(&b""[..], |(_, rest)| rest))
            }
            None => {
                let (value, rest) = split_once(rest, b';').unwrap_or((rest, b""));
                (value.trim_ascii_end(), rest)
            }
        };
        if key.trim_ascii().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        parameters = rest;
    }
}

/// Where the quote ends; a backslash takes the meaning from what follows it.
fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut escaped = false;
    quoted.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = memchr::memchr(at, bytes)?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

#[cfg(test)]
mod tests;
