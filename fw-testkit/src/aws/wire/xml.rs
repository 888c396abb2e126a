//! XML as EC2 and the services of the Query protocol write it: elements with text or elements in them, no attributes.

use std::fmt::Display;

use quick_xml::escape::escape;

/// What is being written.
#[derive(Debug)]
pub(crate) struct Xml {
    text: String,
    /// What an element of a list is called.
    item: &'static str,
}

impl Xml {
    /// For EC2, whose lists have elements called `item`.
    pub(crate) fn ec2() -> Self {
        Self { text: String::new(), item: "item" }
    }

    /// For the Query protocol, whose lists have elements called `member`.
    pub(crate) fn query() -> Self {
        Self { text: String::new(), item: "member" }
    }

    /// An element with a text.
    pub(crate) fn leaf(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.text.push_str(&format!("<{name}>{}</{name}>", escape(value.as_str())));
    }

    /// The same, if there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    /// An element with elements.
    pub(crate) fn within(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.text.push_str(&format!("<{name}>"));
        fill(self);
        self.text.push_str(&format!("</{name}>"));
    }

    /// A list; empty lists are written as well.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        let item = self.item;
        self.within(name, |xml| items.into_iter().for_each(|one| xml.within(item, |xml| fill(xml, one))));
    }

    /// A list of texts.
    pub(crate) fn texts<T: Display>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        let item = self.item;
        self.within(name, |xml| items.into_iter().for_each(|one| xml.leaf(item, one)));
    }

    /// What has been written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_lists_have_items() {
        let mut xml = Xml::ec2();
        xml.leaf("name", "<a & b>");
        xml.list("set", [1, 2], |xml, number| xml.leaf("number", number));
        xml.texts("zones", ["a"]);
        xml.optional("none", None::<&str>);
        let items = "<set><item><number>1</number></item><item><number>2</number></item></set>";
        assert_eq!(xml.into_text(), format!("<name>&lt;a &amp; b&gt;</name>{items}<zones><item>a</item></zones>"));
    }
}
