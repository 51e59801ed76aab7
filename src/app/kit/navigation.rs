//! The links between the pages of an environment and of its organisation: the sidebar, and the drawer of a narrow screen.

use leptos::prelude::*;

use crate::app::islands::icons::{BOOK, ENVELOPE, INBOX, KEY, LAYERS, MENU, PEOPLE, SLIDERS, icon};
use crate::app::links::REFERENCE;
use crate::app::links::events::EventsLink;
use crate::app::links::keys::KeysLink;
use crate::app::links::organisation::OrganisationLink;
use crate::app::links::place::EnvironmentPath;
use crate::domain::{Action, Membership};

/// A section of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The keys of an environment.
    Keys,
    /// The events of an environment.
    Events,
    /// The general settings of an organisation.
    General,
    /// The members of an organisation.
    Members,
    /// The invitations to an organisation.
    Invitations,
    /// The environments of an organisation.
    Environments,
    /// The API reference.
    Docs,
    /// The server, outside of any organisation.
    Server,
    /// Any other page.
    Elsewhere,
}

impl Section {
    /// Returns the first page of the section in a place. Sections outside of organisations lead to the keys.
    pub fn href(self, place: EnvironmentPath) -> String {
        let organisation = OrganisationLink(place.organisation);
        match self {
            Self::Events => EventsLink::to(place).href(),
            Self::General => organisation.general(),
            Self::Members => organisation.members(),
            Self::Invitations => organisation.invitations(),
            Self::Environments => organisation.environments(),
            Self::Keys | Self::Docs | Self::Server | Self::Elsewhere => KeysLink::to(place).href(),
        }
    }

    /// Returns the section that another organisation opens at: one that every role may see.
    #[must_use]
    pub fn for_every_role(self) -> Self {
        if self == Self::Invitations { Self::Members } else { self }
    }

    /// Returns the section that another environment opens at. Settings belong to the organisation.
    #[must_use]
    pub fn of_environment(self) -> Self {
        if OF_ORGANISATION.iter().any(|(section, ..)| *section == self) { Self::Keys } else { self }
    }
}

/// The links to the pages of an environment, in order. Add a line with each new page.
const OF_ENVIRONMENT: [(Section, &str, &str); 2] = [(Section::Keys, "Keys", KEY), (Section::Events, "Events", INBOX)];

/// The links to the settings of an organisation, in order, with the right that each page needs.
const OF_ORGANISATION: [(Section, &str, &str, Action); 4] = [
    (Section::General, "General", SLIDERS, Action::SeeOrganisation),
    (Section::Members, "Members", PEOPLE, Action::SeeOrganisation),
    (Section::Invitations, "Invitations", ENVELOPE, Action::ManageMembers),
    (Section::Environments, "Environments", LAYERS, Action::SeeOrganisation),
];

fn links(place: EnvironmentPath, membership: &Membership, current: Section) -> AnyView {
    let link = |section: Section, words: &'static str, strokes: &'static str| {
        view! {
            <li>
                <a href=section.href(place) aria-current=(section == current).then_some("page")>
                    {icon(strokes)}
                    <span class="label">{words}</span>
                </a>
            </li>
        }
    };
    let of_environment = OF_ENVIRONMENT.map(|(section, words, strokes)| link(section, words, strokes)).collect_view();
    let settings = OF_ORGANISATION.into_iter().filter(|(.., action)| membership.may(*action));
    let settings = settings.map(|(section, words, strokes, _)| link(section, words, strokes)).collect_view();
    view! {
        <ul>{of_environment}</ul>
        <p class="nav-title" aria-hidden="true"><span>"Settings"</span></p>
        <ul aria-label="Settings">{settings}</ul>
    }
    .into_any()
}

/// The links at the side. On a screen of medium width, they are icons with a tooltip.
#[component]
pub fn Sidebar(place: EnvironmentPath, membership: Membership, section: Section) -> AnyView {
    view! { <nav class="sidebar" aria-label="Dashboard">{links(place, &membership, section)}</nav> }.into_any()
}

/// The links of a narrow screen, behind a button in the bar. The backdrop is a part of the button, so that a click on it
/// closes the drawer without JavaScript.
#[component]
pub fn Drawer(place: EnvironmentPath, membership: Membership, section: Section) -> AnyView {
    view! {
        <details class="menu drawer" name="topbar-menu">
            <summary aria-label="Pages">{icon(MENU)}</summary>
            <nav class="drawer-panel" aria-label="Dashboard">
                {links(place, &membership, section)}
                <hr/>
                <ul>
                    <li>
                        <a href=REFERENCE aria-current=(section == Section::Docs).then_some("page")>
                            {icon(BOOK)}
                            <span class="label">"Docs"</span>
                        </a>
                    </li>
                </ul>
            </nav>
        </details>
    }
    .into_any()
}
