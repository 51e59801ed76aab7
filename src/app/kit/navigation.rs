//! The links between the pages of an environment: the sidebar, and the drawer of a narrow screen.

use leptos::prelude::*;

use crate::app::islands::icons::{BOOK, INBOX, KEY, MENU, icon};
use crate::app::links::REFERENCE;
use crate::app::links::events::EventsLink;
use crate::app::links::keys::KeysLink;
use crate::app::links::place::Place;

/// A section of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The keys of an environment.
    Keys,
    /// The events of an environment.
    Events,
    /// The API reference.
    Docs,
    /// The server, outside of any organisation.
    Server,
    /// Any other page.
    Elsewhere,
}

impl Section {
    /// Returns the first page of the section in a place. Sections outside of organisations lead to the keys.
    pub fn href(self, place: Place) -> String {
        match self {
            Self::Events => EventsLink::to(place).href(),
            Self::Keys | Self::Docs | Self::Server | Self::Elsewhere => KeysLink::to(place).href(),
        }
    }
}

/// The links to the pages of an environment, in order. Add a line with each new page. The pages of the organisation
/// (`/o/{organisation}/settings/…`) get a second list in [`links`].
const OF_ENVIRONMENT: [(Section, &str, &str); 2] = [(Section::Keys, "Keys", KEY), (Section::Events, "Events", INBOX)];

fn links(place: Place, current: Section) -> AnyView {
    let link = |(section, words, strokes): (Section, &'static str, &'static str)| {
        view! {
            <li>
                <a href=section.href(place) aria-current=(section == current).then_some("page")>
                    {icon(strokes)}
                    <span class="label">{words}</span>
                </a>
            </li>
        }
    };
    view! { <ul>{OF_ENVIRONMENT.map(link).collect_view()}</ul> }.into_any()
}

/// The links at the side. On a screen of medium width, they are icons with a tooltip.
#[component]
pub fn Sidebar(place: Place, section: Section) -> AnyView {
    view! { <nav class="sidebar" aria-label="Dashboard">{links(place, section)}</nav> }.into_any()
}

/// The links of a narrow screen, behind a button in the bar. The backdrop is a part of the button, so that a click on it
/// closes the drawer without JavaScript.
#[component]
pub fn Drawer(place: Place, section: Section) -> AnyView {
    view! {
        <details class="menu drawer" name="topbar-menu">
            <summary aria-label="Pages">{icon(MENU)}</summary>
            <nav class="drawer-panel" aria-label="Dashboard">
                {links(place, section)}
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
