//! The parameters of a call. Each is taken once; what nobody has taken is an error, because the real services would have
//! done something with it that the fake does not do.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::aws::model::ApiError;

/// How a service names its parameters, and says that they are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// EC2: `Name.1`.
    Ec2,
    /// The Query protocol: `Name.member.1`.
    Query,
    /// Parameters in the path or the body: lists are one name with several values, which come as `Name.1`.
    Rest,
}

/// What is left of a call's parameters.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    dialect: Dialect,
    left: BTreeMap<String, String>,
}

/// A filter: its name and the values of which one must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// How much of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) most: Option<usize>,
    pub(crate) token: Option<String>,
}

impl Params {
    pub(crate) const fn new(dialect: Dialect, left: BTreeMap<String, String>) -> Self {
        Self { dialect, left }
    }

    /// A parameter that may be left out.
    pub(crate) fn optional(&mut self, name: &str) -> Option<String> {
        self.left.remove(name)
    }

    /// A parameter that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, ApiError> {
        let value = self.optional(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| match self.dialect {
            Dialect::Ec2 => {
                ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
            }
            Dialect::Query | Dialect::Rest => self.invalid(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            )),
        })
    }

    /// A number or a boolean that may be left out.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.optional(name) else { return Ok(None) };
        let message = format!("Value ({text}) for parameter {name} is invalid.");
        text.parse().map(Some).map_err(|_| self.invalid(message))
    }

    /// What a service calls a parameter that is wrong.
    fn invalid(&self, message: String) -> ApiError {
        match self.dialect {
            Dialect::Ec2 => ApiError::invalid_value(message),
            Dialect::Query => ApiError::validation(message),
            Dialect::Rest => ApiError::new("ValidationException", message),
        }
    }

    /// A list of texts, in its order.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        let prefix = match self.dialect {
            Dialect::Ec2 | Dialect::Rest => format!("{name}."),
            Dialect::Query => format!("{name}.member."),
        };
        let number = |key: &str| key.strip_prefix(&prefix)?.parse::<usize>().ok();
        let mut found: Vec<(usize, String)> =
            self.left.keys().filter_map(|key| Some((number(key)?, key.clone()))).collect();
        found.sort_unstable();
        found.into_iter().filter_map(|(_, key)| self.left.remove(&key)).collect()
    }

    /// The filters: `Filter.1.Name` and `Filter.1.Value.1` of EC2, `Filters.member.1.Name` and so on of others.
    pub(crate) fn filters(&mut self) -> Result<Vec<Filter>, ApiError> {
        let (prefix, values) = match self.dialect {
            Dialect::Ec2 => ("Filter.", "Value"),
            Dialect::Query | Dialect::Rest => ("Filters.member.", "Values"),
        };
        let mut numbers: Vec<usize> =
            self.left.keys().filter_map(|key| key.strip_prefix(prefix)?.split('.').next()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let filter = |number: usize| {
            let name = self.required(&format!("{prefix}{number}.Name"))?;
            let values = self.list(&format!("{prefix}{number}.{values}"));
            if values.is_empty() {
                return Err(ApiError::invalid_value(format!("The filter '{name}' has no values.")));
            }
            Ok(Filter { name, values })
        };
        numbers.into_iter().map(filter).collect()
    }

    /// `MaxResults` within its bounds and `NextToken`. EC2 does not take a size together with ids.
    pub(crate) fn page(&mut self, least: usize, greatest: usize, with_ids: bool) -> Result<Page, ApiError> {
        self.page_by("MaxResults", least, greatest, with_ids)
    }

    /// The same by another name.
    pub(crate) fn page_by(
        &mut self,
        name: &str,
        least: usize,
        greatest: usize,
        with_ids: bool,
    ) -> Result<Page, ApiError> {
        let most = self.parsed::<usize>(name)?;
        if let Some(most) = most {
            let bound = match most {
                most if most < least => Some(("greater", least)),
                most if most > greatest => Some(("less", greatest)),
                _ => None,
            };
            if let Some((side, bound)) = bound {
                let message = format!(
                    "Value ( {most} ) for parameter maxResults is invalid. Expecting a value {side} than {bound}."
                );
                return Err(self.invalid(message));
            }
            if with_ids {
                let message = "The parameter maxResults cannot be used with a list of ids";
                return Err(ApiError::new("InvalidParameterCombination", message));
            }
        }
        Ok(Page { most, token: self.optional("NextToken") })
    }

    /// Refuses what nobody has taken.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::new("UnknownParameter", format!("The parameter {name} is not recognized"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(dialect: Dialect, pairs: &[(&str, &str)]) -> Params {
        Params::new(dialect, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn lists_keep_their_order_beyond_nine() {
        let pairs: Vec<(String, String)> =
            (1..=11).map(|number| (format!("Id.{number}"), number.to_string())).collect();
        let mut params = Params::new(Dialect::Ec2, pairs.into_iter().collect());
        assert_eq!(params.list("Id"), (1..=11).map(|number| number.to_string()).collect::<Vec<_>>());
        params.finish().unwrap();
        let mut params = self::params(Dialect::Query, &[("Names.member.1", "a")]);
        assert_eq!(params.list("Names"), ["a"]);
    }

    #[test]
    fn filters_are_read_and_nothing_is_ignored() {
        let mut params = params(
            Dialect::Ec2,
            &[
                ("Filter.1.Name", "status"),
                ("Filter.1.Value.1", "in-use"),
                ("Filter.1.Value.2", "available"),
                ("Owner", "x"),
            ],
        );
        let filters = params.filters().unwrap();
        assert_eq!(
            filters,
            [Filter { name: "status".to_owned(), values: vec!["in-use".to_owned(), "available".to_owned()] }]
        );
        assert_eq!(params.finish().unwrap_err().to_string(), "UnknownParameter: The parameter Owner is not recognized");
    }

    #[test]
    fn pages_have_bounds() {
        let page = |value: &str, with_ids| self::params(Dialect::Ec2, &[("MaxResults", value)]).page(5, 1000, with_ids);
        assert_eq!(page("5", false).unwrap().most, Some(5));
        assert_eq!(page("4", false).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(page("1001", false).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(page("5", true).unwrap_err().code, "InvalidParameterCombination");
    }
}
