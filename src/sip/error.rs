//! What can be wrong with a message, and which status code says so (RFC 3261 §21.4.1, §21.4.11, §21.5.6, §21.5.7).
//!
//! No error carries bytes of the message: they may hold keys.

use std::fmt;

use super::HeaderName;

/// The message cannot be read as a whole; the sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive.
    Empty,
    /// Neither a request line nor a status line; what is wrong with it.
    StartLine(&'static str),
    /// A SIP version other than 2.0.
    Version,
    /// A header line without a well-formed name and colon. Counted from 1, the start line being line 1.
    HeaderLine(usize),
    /// A carriage return that ends no line: other readers would see a line break there.
    BareCarriageReturn,
    /// No blank line ends the header section.
    Unterminated,
    /// The header section is longer than [`super::Limits::header_bytes`].
    HeaderTooLarge,
    /// More header lines than [`super::Limits::fields`].
    TooManyFields,
    /// Content-Length is no number, or given twice with different values; what is wrong with it.
    ContentLength(&'static str),
    /// A stream's message without Content-Length (RFC 3261 §18.3).
    NoContentLength,
    /// Content-Length promises more bytes than the datagram holds (RFC 3261 §18.3).
    BodyTruncated { declared: usize, present: usize },
    /// The body is longer than [`super::Limits::body_bytes`].
    BodyTooLarge,
}

impl ParseError {
    /// The status code to answer with, if anything is answered.
    pub const fn status(&self) -> u16 {
        match self {
            ParseError::Version => 505,
            ParseError::HeaderTooLarge | ParseError::TooManyFields => 513,
            ParseError::BodyTooLarge => 413,
            _ => 400,
        }
    }

    /// A stable word for logs and metric labels.
    pub const fn label(&self) -> &'static str {
        match self {
            ParseError::Empty => "empty",
            ParseError::StartLine(_) => "start_line",
            ParseError::Version => "version",
            ParseError::HeaderLine(_) => "header_line",
            ParseError::BareCarriageReturn => "bare_carriage_return",
            ParseError::Unterminated => "unterminated",
            ParseError::HeaderTooLarge => "header_too_large",
            ParseError::TooManyFields => "too_many_fields",
            ParseError::ContentLength(_) => "content_length",
            ParseError::NoContentLength => "no_content_length",
            ParseError::BodyTruncated { .. } => "body_truncated",
            ParseError::BodyTooLarge => "body_too_large",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Empty => f.write_str("nothing but line ends"),
            ParseError::StartLine(what) => write!(f, "start line: {what}"),
            ParseError::Version => f.write_str("SIP version other than 2.0"),
            ParseError::HeaderLine(line) => write!(f, "line {line} is not a header line"),
            ParseError::BareCarriageReturn => f.write_str("carriage return inside a header line"),
            ParseError::Unterminated => f.write_str("no blank line after the headers"),
            ParseError::HeaderTooLarge => f.write_str("headers longer than the limit"),
            ParseError::TooManyFields => f.write_str("more header lines than the limit"),
            ParseError::ContentLength(what) => write!(f, "Content-Length: {what}"),
            ParseError::NoContentLength => f.write_str("no Content-Length on a stream"),
            ParseError::BodyTruncated { declared, present } => write!(f, "Content-Length says {declared}, {present} bytes are there"),
            ParseError::BodyTooLarge => f.write_str("body longer than the limit"),
        }
    }
}

impl std::error::Error for ParseError {}

/// One header cannot be read; the rest of the message can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderError {
    pub name: HeaderName,
    pub problem: HeaderProblem,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderProblem {
    Missing,
    /// More than one where only one may be.
    Repeated,
    /// What is wrong with it.
    Malformed(&'static str),
}

impl HeaderError {
    pub(super) const fn missing(name: HeaderName) -> HeaderError {
        HeaderError { name, problem: HeaderProblem::Missing }
    }

    pub(super) const fn repeated(name: HeaderName) -> HeaderError {
        HeaderError { name, problem: HeaderProblem::Repeated }
    }

    pub(super) const fn malformed(name: HeaderName, what: &'static str) -> HeaderError {
        HeaderError { name, problem: HeaderProblem::Malformed(what) }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            HeaderProblem::Missing => write!(f, "{} is missing", self.name),
            HeaderProblem::Repeated => write!(f, "{} is there more than once", self.name),
            HeaderProblem::Malformed(what) => write!(f, "{}: {what}", self.name),
        }
    }
}

impl std::error::Error for HeaderError {}
