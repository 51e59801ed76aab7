//! Parses HookSentry's query parameters, with case-insensitive names and words.

use std::str::FromStr;

use super::error::Error;

/// The largest page number: the maximum of .NET's `int`.
const MAX_PAGE: i64 = 2_147_483_647;

/// The parameters of a listing.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

/// The page and the sort order.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    /// The number of items before the page.
    pub offset: i64,
    /// The page size.
    pub limit: i64,
    /// Whether to sort in descending order.
    pub descending: bool,
}

impl Query {
    /// Parses a query string. Each of the `known` parameters may be given once.
    ///
    /// # Errors
    /// 400 for a parameter that is unknown or given twice.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Error> {
        Self::read_pairs(query, known, |name| {
            let shown: String = name.chars().take(60).collect();
            let known = known.join(", ");
            Err(Error::Invalid(format!("`{shown}` is not a known parameter; known are {known}.")))
        })
    }

    /// Parses a query string and ignores parameters that are not `known`, for calls that must not fail because of them.
    ///
    /// # Errors
    /// 400 for a known parameter that is given twice.
    pub fn parse_known(query: Option<&str>, known: &[&str]) -> Result<Self, Error> {
        Self::read_pairs(query, known, |_| Ok(()))
    }

    fn read_pairs(
        query: Option<&str>,
        known: &[&str],
        unknown: impl Fn(&str) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(found) = known.iter().find(|known| known.eq_ignore_ascii_case(&name)) else {
                unknown(&name)?;
                continue;
            };
            if pairs.iter().any(|(name, _)| name == found) {
                return Err(Error::Invalid(format!("`{found}` is given twice.")));
            }
            pairs.push(((*found).to_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// Returns the value of a parameter as it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parses the value of a parameter. `right` describes the valid values.
    ///
    /// # Errors
    /// 400 with the valid values.
    pub fn read<T: FromStr>(&self, name: &str, right: &str) -> Result<Option<T>, Error> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| Error::Invalid(format!("`{name}` must be {right}."))))
            .transpose()
    }

    /// Parses a parameter as one of several case-insensitive words.
    ///
    /// # Errors
    /// 400 with the list of the words.
    pub fn choose<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        if let Some((_, meant)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Ok(Some(*meant))
        } else {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(Error::Invalid(format!("`{name}` must be one of {}.", words.join(", "))))
        }
    }

    /// Parses `Qt`, `Pg` and `TpOrd`.
    ///
    /// # Errors
    /// 400 with the valid values.
    pub fn paging(&self) -> Result<Paging, Error> {
        let limit: i64 = self.read("Qt", "a number from 1 to 100")?.unwrap_or(10);
        if !(1..=100).contains(&limit) {
            return Err(Error::Invalid("`Qt` must be a number from 1 to 100.".to_owned()));
        }
        let page: i64 = self.read("Pg", "a number from 1 to 2147483647")?.unwrap_or(1);
        if !(1..=MAX_PAGE).contains(&page) {
            return Err(Error::Invalid("`Pg` must be a number from 1 to 2147483647.".to_owned()));
        }
        let descending = self.choose("TpOrd", &[("Asc", false), ("Desc", true)])?.unwrap_or(true);
        Ok(Paging { offset: (page - 1) * limit, limit, descending })
    }
}
