//! The worker as it stands in the README.

use popstore::{GroupOptions, Message, Pop, Store};
use std::time::Duration;

fn main() -> popstore::Result<()> {
    let store = Store::open("orders-store")?; // a directory, made here the first time
    store.append("orders", Message::new("12.50 EUR").key("order-42").tag("paid"))?;

    let billing = store.create_group("billing", GroupOptions::default().max_reconsume_times(3))?;
    let lease = Pop::up_to(8).invisible_for(Duration::from_secs(30));
    loop {
        let deliveries = billing.pop_wait("orders", lease, Duration::from_secs(1))?;
        if deliveries.is_empty() {
            break; // a long-running worker checks here whether it should stop
        }
        for delivery in deliveries {
            let settled = match handle(delivery.body()) {
                Ok(()) => billing.ack(delivery.receipt())?,
                Err(_) => billing.nack(delivery.receipt(), Duration::from_secs(5))?,
            };
            if !settled.counted() {
                println!("too late: {settled:?}");
            }
        }
    }
    store.close()
}

fn handle(body: &[u8]) -> Result<(), std::str::Utf8Error> {
    println!("bill {}", std::str::from_utf8(body)?);
    Ok(())
}

/// Runs it.
pub(crate) fn run() -> popstore::Result<()> {
    main()
}
