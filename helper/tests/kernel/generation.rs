//! The generation of a namespace's rules: the kernel's count of transactions.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use nftnl::Batch;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg, socket,
};

pub(crate) struct Generations {
    socket: OwnedFd,
}

impl Generations {
    /// Opens a socket in the network namespace of this thread.
    pub(crate) fn open() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter).unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
        Self { socket }
    }

    /// The current generation. The kernel raises it in the middle of a transaction, shortly before
    /// that takes effect.
    pub(crate) fn now(&self) -> u32 {
        let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_GETGEN).unwrap();
        let flags = u16::try_from(libc::NLM_F_REQUEST).unwrap();
        let mut question = Vec::from(20_u32.to_ne_bytes());
        question.extend(kind.to_ne_bytes());
        question.extend(flags.to_ne_bytes());
        // Sequence and port of the header, then `struct nfgenmsg`, all zero.
        question.resize(20, 0);
        self.send(&question);
        let mut answer = [0; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).unwrap();
        // `NFTA_GEN_ID` is the first attribute, and a number in network order
        // (`nf_tables_fill_gen_info`).
        assert!(length >= 28 && answer[22..24] == 1_u16.to_ne_bytes(), "{:?}", &answer[..length]);
        u32::from_be_bytes(answer[24..28].try_into().unwrap())
    }

    /// Waits until no transaction is running: an empty batch waits for its turn, and does not count
    /// as a generation.
    pub(crate) fn wait_for_the_transaction(&self) {
        let batch = Batch::new().finalize();
        self.send(&batch.iter().collect::<Vec<_>>().concat());
        // Discards a possible acknowledgement of the batch, so that it is not read as the next
        // answer.
        let mut answer = [0; 4096];
        while recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    /// Sends a message. The kernel handles and answers it before this returns.
    fn send(&self, message: &[u8]) {
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(message)], &[], MsgFlags::empty(), None).unwrap();
    }
}
