//! The handler of `frameloop serve`: it echoes frames, and hands what comes for the endpoint to it.

use std::convert::Infallible;

use frameloop::{CloseReason, ConnId, Connection, Context, Drain, Frame, Handler, TimerId};

use crate::admin::endpoint::Admin;

/// Echoes frames, except on the connections of the endpoint, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) admin: Option<Box<Admin>>,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Echo,
    Admin,
}

impl Handler for Served {
    type State = Protocol;
    type Message = Infallible;

    fn on_open(&mut self, conn: &mut Connection<'_>) -> Protocol {
        match &mut self.admin {
            Some(admin) if admin.serves(conn.listener()) => {
                admin.on_open(conn);
                Protocol::Admin
            }
            Some(_) | None => Protocol::Echo,
        }
    }

    // As for `frameloop::Echo`.
    #[inline(always)]
    fn on_frame(&mut self, conn: &mut Connection<'_>, protocol: &mut Protocol, frame: Frame<'_>) {
        if *protocol == Protocol::Admin {
            return self.on_admin_frame(conn, &frame);
        }
        // The first reply to a frame is always queued, unless the connection is ending anyway.
        let _ = conn.reply_frame(frame);
    }

    fn on_frame_rejected(&mut self, conn: &mut Connection<'_>, protocol: &mut Protocol, reason: &CloseReason) {
        if let (Protocol::Admin, Some(admin)) = (protocol, &mut self.admin) {
            admin.on_frame_rejected(conn, reason);
        }
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, protocol: &mut Protocol) {
        match (protocol, &mut self.admin) {
            (Protocol::Admin, Some(admin)) => admin.on_half_close(conn),
            (Protocol::Echo | Protocol::Admin, _) => conn.close(),
        }
    }

    fn on_drain(&mut self, conn: &mut Connection<'_>, protocol: &mut Protocol) -> Drain {
        match (protocol, &mut self.admin) {
            (Protocol::Admin, Some(admin)) => admin.on_drain(conn),
            (Protocol::Echo | Protocol::Admin, _) => Drain::AtRest,
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, id: ConnId, protocol: Protocol, _: &CloseReason) {
        if let (Protocol::Admin, Some(admin)) = (protocol, &mut self.admin) {
            admin.on_close(id);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        if let Some(admin) = &mut self.admin {
            let next = admin.on_probe(cx.now());
            // It is the only timer.
            let _ = cx.set_timer(next);
        }
    }
}

impl Served {
    #[cold]
    fn on_admin_frame(&mut self, conn: &mut Connection<'_>, frame: &Frame<'_>) {
        if let Some(admin) = &mut self.admin {
            admin.on_frame(conn, frame);
        }
    }
}
