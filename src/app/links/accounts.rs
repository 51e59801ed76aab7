//! Reads and writes the addresses of the operator's list of accounts.

use super::key_in_address::contains_key;
use crate::model::UserId;

/// The path of the list.
pub const ACCOUNTS: &str = "/server/accounts";

/// A list of accounts in an address: `/server/accounts?q=…&after=…&disable=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountsLink {
    /// Filter: a part of the address.
    pub text: Option<String>,
    /// Filter: e-mail addresses after this one.
    pub after: Option<String>,
    /// The account of the dialog that asks before it is disabled.
    pub disable: Option<UserId>,
}

impl AccountsLink {
    /// Number of accounts on a page.
    pub const PAGE: usize = 50;

    /// Reads a query. Ignores an invalid filter.
    pub fn read(query: Option<&str>) -> Self {
        let mut link = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                // A pasted key must not appear in a further address.
                "q" | "after" if contains_key(&value) => {}
                "q" => link.text = Some(value.trim().to_owned()).filter(|text| !text.is_empty()),
                "after" => link.after = Some(value.into_owned()).filter(|text| !text.is_empty()),
                "disable" => link.disable = value.parse().ok(),
                _ => {}
            }
        }
        link
    }

    /// Returns the address.
    pub fn href(&self) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(format!("{ACCOUNTS}?"), ACCOUNTS.len() + 1);
        let disable = self.disable.map(|id| id.to_string());
        let parameters = [("q", &self.text), ("after", &self.after), ("disable", &disable)];
        query
            .extend_pairs(parameters.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))));
        query.finish().trim_end_matches('?').to_owned()
    }

    /// Returns the list without a dialog.
    #[must_use]
    pub fn without_dialog(&self) -> Self {
        Self { disable: None, ..self.clone() }
    }

    /// Returns the list with the dialog that asks before an account is disabled.
    #[must_use]
    pub fn asking(&self, disable: UserId) -> Self {
        Self { disable: Some(disable), ..self.clone() }
    }

    /// Returns the page after an address.
    #[must_use]
    pub fn after(&self, email: &str) -> Self {
        Self { after: Some(email.to_owned()), disable: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_what_it_was_written_from() {
        let link = AccountsLink {
            text: Some("a+b@ex ample".to_owned()),
            after: Some("ada@example.com".to_owned()),
            disable: Some(UserId(7)),
        };
        let href = link.href();
        assert_eq!(AccountsLink::read(href.split_once('?').map(|(_, query)| query)), link);
        assert_eq!(link.without_dialog().asking(UserId(7)), link);
        assert_eq!(AccountsLink::default().href(), ACCOUNTS);
        assert_eq!(AccountsLink::read(Some("q=+&after=&disable=7&x=1")), AccountsLink::default());
        let key = "q=hks_0123456789abcdef0123456789abcdef";
        assert_eq!(AccountsLink::read(Some(key)), AccountsLink::default(), "a key goes into no further address");
    }
}
