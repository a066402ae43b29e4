//! Expressions, messages and set elements that the safe API of nftnl 0.9 lacks, made with
//! nftnl-sys. This is the only module of the workspace with `unsafe`.
//!
//! * [`Raw`]: expressions by name and attributes, for `rt`, `byteorder`, `exthdr` and a `lookup` in
//!   a map;
//! * [`TableMessage`]: a table message without the attribute for flags;
//! * [`SetExt`]: a set's value type, user data and key-value elements.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;
use nftnl::set::Set;
use nftnl::{MsgType, NlMsg};
use nix::libc;

use super::NAME;
use crate::kernel::wire::{framed, inet, nft_kind};

/// The value of an attribute. libnftnl fixes the type that each attribute takes (`src/expr/*.c`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// 1 byte.
    U8(u8),
    /// 4 bytes in host byte order.
    U32(u32),
    /// A NUL-terminated text.
    Text(&'a CStr),
}

/// An expression by its name and attributes (`NFTNL_EXPR_*`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    /// The kernel's name for the expression.
    pub(super) name: &'a CStr,
    /// Its attributes.
    pub(super) attributes: &'a [(u32, Value<'a>)],
}

/// Aborts if an allocation failed, as nftnl itself does when libnftnl is out of memory.
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| std::process::abort())
}

/// The constants in libnftnl's header are 32 bits wide, but its functions take 16.
fn attribute(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// A slice as C functions take it.
fn raw(bytes: &[u8]) -> (*const c_void, u32) {
    (bytes.as_ptr().cast(), u32::try_from(bytes.len()).unwrap_or_default())
}

impl nftnl::expr::Expression for Raw<'_> {
    fn to_expr(&self, _rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is NUL-terminated and only read during the call.
        let expression = allocated(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        for &(number, value) in self.attributes {
            let (expression, number) = (expression.as_ptr(), attribute(number));
            match value {
                // SAFETY: the expression is alive and ours alone; the value is passed by copy.
                Value::U8(value) => unsafe { sys::nftnl_expr_set_u8(expression, number, value) },
                // SAFETY: as above.
                Value::U32(value) => unsafe { sys::nftnl_expr_set_u32(expression, number, value) },
                // SAFETY: as above, and libnftnl copies the NUL-terminated text.
                Value::Text(text) => unsafe {
                    sys::nftnl_expr_set_str(expression, number, text.as_ptr());
                },
            }
        }
        expression
    }
}

/// The message that creates or deletes our table. Unlike nftnl's own it has no flags, so an
/// existing table keeps its flags until it is deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableMessage;

// SAFETY: the message is a header and a short name, far less than the largest message.
unsafe impl NlMsg for TableMessage {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
        let kind = match kind {
            MsgType::Add => libc::NFT_MSG_NEWTABLE,
            MsgType::Del => libc::NFT_MSG_DELTABLE,
        };
        let message = framed(nft_kind(kind), libc::NLM_F_ACK, sequence, &inet(&[(1, NAME)]));
        // SAFETY: the caller guarantees a buffer with room for the largest message.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), message.len()) };
    }
}

/// Attributes and elements of sets that nftnl's safe API lacks.
pub(super) trait SetExt {
    /// Makes the set a map to values of this nft type and length in bytes.
    fn map_to(&mut self, kind: u32, length: u32);
    /// Attaches the user data that tells nft how to print keys and values.
    fn describe(&mut self, userdata: &[u8]);
    /// Adds an element of a map.
    fn add_pair(&mut self, key: &[u8], value: &[u8]);
}

impl<K> SetExt for Set<'_, K> {
    fn map_to(&mut self, kind: u32, length: u32) {
        let set = self.as_ptr().as_ptr();
        let flags = libc::NFT_SET_MAP.cast_unsigned();
        for (number, value) in
            [(sys::NFTNL_SET_FLAGS, flags), (sys::NFTNL_SET_DATA_TYPE, kind), (sys::NFTNL_SET_DATA_LEN, length)]
        {
            // SAFETY: the set is alive and borrowed for us alone; the value is passed by copy.
            unsafe { sys::nftnl_set_set_u32(set, attribute(number), value) };
        }
    }

    fn describe(&mut self, userdata: &[u8]) {
        let ((data, length), number) = (raw(userdata), attribute(sys::NFTNL_SET_USERDATA));
        // SAFETY: the set is alive and borrowed for us alone; libnftnl copies that many bytes from
        // the slice.
        let done = unsafe { sys::nftnl_set_set_data(self.as_ptr().as_ptr(), number, data, length) };
        if done != 0 {
            std::process::abort();
        }
    }

    fn add_pair(&mut self, key: &[u8], value: &[u8]) {
        // SAFETY: no preconditions.
        let element = allocated(unsafe { sys::nftnl_set_elem_alloc() }).as_ptr();
        for (number, bytes) in [(sys::NFTNL_SET_ELEM_KEY, key), (sys::NFTNL_SET_ELEM_DATA, value)] {
            let (data, length) = raw(bytes);
            // SAFETY: the element is alive and ours alone; libnftnl copies that many bytes from the
            // slice.
            unsafe { sys::nftnl_set_elem_set(element, attribute(number), data, length) };
        }
        // SAFETY: both are alive, and the set takes the element over.
        unsafe { sys::nftnl_set_elem_add(self.as_ptr().as_ptr(), element) };
    }
}
