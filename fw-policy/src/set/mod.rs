//! Sets: of addresses and of services. Both are written the same way (terms, `@` for another set, `!` for except) and
//! obey the same algebra, so they are resolved by the same code.

pub(crate) mod address;
pub(crate) mod icmp;
pub(crate) mod interval;
pub(crate) mod resolve;
pub(crate) mod service;
pub(crate) mod service_term;
mod text;

use crate::source::Spanned;

/// What a kind of set must offer to be written with terms.
pub(crate) trait SetAlgebra: Clone + Default {
    /// The name of the kind in messages.
    const KIND: &'static str;

    fn everything() -> Self;
    fn is_empty(&self) -> bool;
    fn union<'a>(parts: impl Iterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
    fn subtract(&self, other: &Self) -> Self;
}

/// One element of a set as written.
#[derive(Clone, Debug)]
pub(crate) struct Term<T> {
    /// Written with `!`: an exclusion.
    pub(crate) negated: bool,
    pub(crate) body: TermBody<T>,
}

#[derive(Clone, Debug)]
pub(crate) enum TermBody<T> {
    Literal(T),
    /// `@name`.
    Named(String),
}

/// The sets that terms name.
pub(crate) fn named<T>(terms: &[Spanned<Term<T>>]) -> impl Iterator<Item = &str> {
    terms.iter().filter_map(|term| match &term.value.body {
        TermBody::Literal(_) => None,
        TermBody::Named(name) => Some(name.as_str()),
    })
}

/// A named set as written.
#[derive(Clone, Debug)]
pub(crate) struct SetDefinition<T> {
    pub(crate) name: Spanned<String>,
    pub(crate) terms: Vec<Spanned<Term<T>>>,
}

/// Why a term is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TermError {
    pub(crate) code: crate::Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// What is wrong in the term, and what is right in its place.
    pub(crate) fix: Option<(String, String)>,
}

impl TermError {
    pub(crate) fn new(code: crate::Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, fix: None }
    }

    /// There is one thing to write in the place of something.
    pub(crate) fn write(mut self, wrong: impl Into<String>, right: impl Into<String>) -> Self {
        let right = right.into();
        self.help = Some(format!("write `{right}`"));
        self.fix = Some((wrong.into(), right));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Splits the leading `!` off, and reads `@name`; what is left is a literal.
pub(crate) fn parse_term<T>(
    text: &str,
    literal: impl FnOnce(&str) -> Result<T, TermError>,
) -> Result<Term<T>, TermError> {
    let (negated, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let body = match rest.strip_prefix('@') {
        Some(name) => TermBody::Named(name.to_owned()),
        None => TermBody::Literal(literal(rest)?),
    };
    Ok(Term { negated, body })
}
