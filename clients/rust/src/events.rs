//! An incremental parser of server-sent events.
//!
//! The client has its own parser because it must know which bytes an event arrived with, and must limit the length of
//! an event. The crates for server-sent events do neither.

/// Longest accepted event, in bytes, far above real ones; a longer one ends the connection.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// The error for an event longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than 16 KiB")]
pub(crate) struct EventTooLong;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// The last id, of this event or of an earlier one.
    pub(crate) id: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a line feed after it is not another line end.
    returned: bool,
    event: Event,
}

impl Parser {
    /// Parses bytes; returns the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let belongs = std::mem::replace(&mut self.returned, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if belongs => {}
                b'\r' | b'\n' => events.extend(self.end_line()),
                _ if self.line.len() + self.event.name.len() + self.event.data.len() >= MAX_EVENT_BYTES => {
                    return Err(EventTooLong);
                }
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            self.event.id.clone_from(&event.id);
            return (!event.data.is_empty()).then_some(event);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            // Comments, `retry`, and unknown fields.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event { name: name.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_split() {
        let text = "\
: a comment\n\
id: ff-1\r\nevent:changed\rdata: {\r\ndata: \"a\": 1}\n\n\
data\n\n\
event: heartbeat\ndata: {}\nretry: 5\nother\n\r\n\
id: ff-2\n\n\
data: later\n\n\
data: not complete\n";
        let whole = [
            event("changed", "{\n\"a\": 1}", Some("ff-1")),
            event("heartbeat", "{}", Some("ff-1")),
            event("", "later", Some("ff-2")),
        ];
        assert_eq!(Parser::default().feed(text.as_bytes()).as_deref(), Ok(&whole[..]));
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let parts = text.as_bytes().chunks(size).map(|part| parser.feed(part).expect("short events"));
            assert_eq!(parts.flatten().collect::<Vec<_>>(), whole, "in parts of {size}");
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_an_error() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&[b'x'; MAX_EVENT_BYTES]), Ok(vec![]));
        assert_eq!(parser.feed(b"x"), Err(EventTooLong));
        let mut parser = Parser::default();
        let ended = (0..MAX_EVENT_BYTES).find(|_| parser.feed(b"data: 0123456789\n").is_err());
        assert!(ended.is_some_and(|lines| lines < MAX_EVENT_BYTES / 10));
    }

    #[test]
    fn invalid_utf8_is_accepted() {
        let events = Parser::default().feed(b"data: \xff\xfe\n\nid: a\0b\ndata: 1\n\n").expect("short events");
        assert_eq!(events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), [None, None]);
    }
}
