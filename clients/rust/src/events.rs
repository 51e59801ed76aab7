//! Server-sent events, out of bytes as they come.
//!
//! Our own, because what matters here is which bytes an event came with, and that nobody can send one
//! without end: the crates that parse them hide the one and do not bound the other.

/// Far more than an event of Latchkey's has.
const LONGEST: usize = 16 * 1024;

/// An event that goes on and on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event without end")]
pub(crate) struct Endless;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// The id that was said last, with this event or before it.
    pub(crate) id: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, and a line feed after it belongs to it.
    returned: bool,
    event: Event,
}

impl Parser {
    /// The events that are complete with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Endless> {
        let mut events = Vec::new();
        for &byte in bytes {
            let belongs = std::mem::replace(&mut self.returned, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if belongs => {}
                b'\r' | b'\n' => events.extend(self.end_line()),
                _ if self.line.len() + self.event.name.len() + self.event.data.len() >= LONGEST => return Err(Endless),
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
            // Comments, `retry`, and what others may add.
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
    fn events_are_the_same_however_the_bytes_are_cut() {
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
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&[b'x'; LONGEST]), Ok(vec![]));
        assert_eq!(parser.feed(b"x"), Err(Endless));
        let mut parser = Parser::default();
        let ended = (0..LONGEST).find(|_| parser.feed(b"data: 0123456789\n").is_err());
        assert!(ended.is_some_and(|lines| lines < LONGEST / 10));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let events = Parser::default().feed(b"data: \xff\xfe\n\nid: a\0b\ndata: 1\n\n").expect("short events");
        assert_eq!(events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), [None, None]);
    }
}
