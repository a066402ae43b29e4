//! Valid and malformed headers.
#![allow(clippy::unwrap_used, clippy::panic)]
use zbus::Message;

use super::*;

fn call(endian: Endian, flags: Flags) -> Vec<u8> {
    let call = Message::method_call("/org/airpods/Helper1", "ClampOn").interface("org.airpods.Helper1");
    let call = call.sender(":1.42").endian(endian).with_flags(flags).build(&("wg0", 7_u64)).unwrap();
    call.data().bytes().to_vec()
}

/// The message with one more field before all others, of this code, signature and value.
fn with_field(message: &[u8], code: u8, signature: &[u8], value: &[u8]) -> Vec<u8> {
    let fixed = Fixed::read(message).unwrap();
    let mut field = vec![code, u8::try_from(signature.len()).unwrap()];
    field.extend_from_slice(signature);
    field.push(0);
    field.extend_from_slice(value);
    field.resize(field.len().next_multiple_of(8), 0);
    let mut longer = message[..Fixed::LENGTH].to_vec();
    let length = fixed.fields + u32::try_from(field.len()).unwrap();
    longer[12..16].copy_from_slice(&length.to_le_bytes());
    longer.extend_from_slice(&field);
    longer.extend_from_slice(&message[Fixed::LENGTH..]);
    longer
}

fn sender(message: &[u8]) -> Option<String> {
    let fixed = Fixed::read(message)?;
    fixed.fields(message)?.sender.map(ToOwned::to_owned)
}

#[test]
fn lengths_sender_and_serial_of_a_call_are_read_in_either_byte_order() {
    for endian in [Endian::Little, Endian::Big] {
        let bytes = call(endian, Flags::empty());
        let fixed = Fixed::read(&bytes).unwrap();
        assert_eq!((fixed.kind, fixed.total()), (Kind::Call, bytes.len()));
        assert!(fixed.awaited().is_some());
        assert_eq!(sender(&bytes).as_deref(), Some(":1.42"));
    }
    let unawaited = call(Endian::Little, Flags::NO_REPLY_EXPECTED);
    assert_eq!(Fixed::read(&unawaited).unwrap().awaited(), None);
}

#[test]
fn unknown_fields_of_every_type_are_passed_over_and_taken_out() {
    let message = call(Endian::Little, Flags::empty());
    // A signature of one letter ends 4 bytes into the field. The zeros before a value are its
    // padding.
    let values: [(&[u8], &[u8]); 13] = [
        (b"y", &[1]),
        (b"b", &[1, 0, 0, 0]),
        (b"i", &[7, 0, 0, 0]),
        (b"u", &[7, 0, 0, 0]),
        (b"h", &[7, 0, 0, 0]),
        (b"d", &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (b"t", &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (b"s", &[2, 0, 0, 0, b'h', b'i', 0]),
        (b"g", &[1, b's', 0]),
        (b"v", &[1, b'y', 0, 9]),
        (b"a{sv}", &[0, 0, 0, 0, 0, 0, 0, 0]),
        (b"(yy)", &[0, 1, 2]),
        (b"aay", &[0, 0, 0, 0, 0, 0]),
    ];
    for (signature, value) in values {
        for code in [10, 99, 255] {
            let longer = with_field(&message, code, signature, value);
            let fixed = Fixed::read(&longer).unwrap();
            let fields = fixed.fields(&longer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(signature)));
            assert_eq!(fields.sender, Some(":1.42"));
            assert_eq!(fixed.cleaned(&longer, &fields), message);
        }
    }
}

#[test]
fn too_many_unknown_fields_of_unusual_types_are_malformed() {
    let mut message = call(Endian::Little, Flags::empty());
    // The value of each ends 5 bytes into the field.
    let most = MOST_UNUSUAL / 5;
    for _ in 0..most - 1 {
        message = with_field(&message, 99, b"y", &[1]);
    }
    assert_eq!(sender(&message).as_deref(), Some(":1.42"));
    message = with_field(&with_field(&message, 99, b"y", &[1]), 99, b"s", &[0, 0, 0, 0, 0]);
    assert_eq!(sender(&message).as_deref(), Some(":1.42"), "texts are not among them");
    assert_eq!(sender(&with_field(&message, 99, b"y", &[1])), None);
}

#[test]
fn two_senders_are_none() {
    let twice =
        with_field(&call(Endian::Little, Flags::empty()), SENDER, b"s", &[4, 0, 0, 0, b':', b'1', b'.', b'1', 0]);
    assert_eq!(sender(&twice), None);
}

#[test]
fn nesting_without_end_is_malformed_and_not_followed() {
    let message = call(Endian::Little, Flags::empty());
    let deep = [1, b'v', 0].repeat(1000);
    let longer = with_field(&message, 77, b"v", &deep);
    assert_eq!(sender(&longer), None);
    let arrays = with_field(&message, 77, &[b'a'; 200], &[0; 16]);
    assert_eq!(sender(&arrays), None);
}

#[test]
fn a_header_cut_or_changed_anywhere_is_read_without_a_panic() {
    let bytes = call(Endian::Little, Flags::empty());
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            crate::bus::fuzzing::message_header(&changed);
        }
        crate::bus::fuzzing::message_header(&bytes[..at]);
    }
    assert_eq!(Fixed::read(b"what is this...."), None);
}
