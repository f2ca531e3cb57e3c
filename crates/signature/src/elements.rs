//! DER, element by element: thin words over the `der` crate, which checks that
//! lengths are definite, minimal and within bounds.

use der::asn1::{IntRef, ObjectIdentifier};
use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};

/// What is left of the inside of an element.
#[derive(Clone)]
pub(crate) struct Elements<'a> {
    reader: SliceReader<'a>,
}

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, der::Error> {
        Ok(Self {
            reader: SliceReader::new(bytes)?,
        })
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<AnyRef<'a>, der::Error> {
        AnyRef::decode(&mut self.reader)
    }

    /// The bytes of the next element, header included.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], der::Error> {
        self.reader.tlv_bytes()
    }

    /// The content of the next element, which has this tag.
    pub(crate) fn content(&mut self, tag: Tag) -> Result<&'a [u8], der::Error> {
        let element = self.any()?;
        element.tag().assert_eq(tag)?;
        Ok(element.value())
    }

    /// The inside of the next element, which has this tag.
    pub(crate) fn enter(&mut self, tag: Tag) -> Result<Self, der::Error> {
        Self::new(self.content(tag)?)
    }

    pub(crate) fn oid(&mut self) -> Result<ObjectIdentifier, der::Error> {
        ObjectIdentifier::decode(&mut self.reader)
    }

    /// The content of an integer in its only encoding.
    pub(crate) fn integer(&mut self) -> Result<&'a [u8], der::Error> {
        let element = self.any()?;
        element.decode_as::<IntRef<'_>>()?;
        Ok(element.value())
    }

    /// Is the next element one with this tag? Not at the end.
    pub(crate) fn next_is(&self, tag: Tag) -> bool {
        Tag::peek(&self.reader).is_ok_and(|next| next == tag)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.reader.is_finished()
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.reader.remaining_len().try_into().unwrap_or(usize::MAX)
    }
}

/// `[number]` of an ASN.1 definition, around other elements.
pub(crate) fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// An element with `parts` as its content.
pub(crate) fn element(tag: Tag, parts: &[&[u8]]) -> Vec<u8> {
    AnyRef::new(tag, &parts.concat())
        .and_then(|element| element.to_der())
        .expect("an element in memory is smaller than what DER can express")
}

pub(crate) fn oid_element(oid: ObjectIdentifier) -> Vec<u8> {
    element(Tag::ObjectIdentifier, &[oid.as_bytes()])
}
