//! Bodies that no client would send get a clear answer all the same.

mod rig;

use ledger::Config;
use rig::Rig;

fn headers() -> [(&'static str, String); 2] {
    [
        ("x-project-id", "p".to_owned()),
        ("x-roles", "admin,member,reader".to_owned()),
    ]
}

#[tokio::test]
async fn bodies_are_bounded_and_broken_ones_refused() {
    let rig = Rig::start(Config::default()).await;
    let deep = "[".repeat(100_000);
    let million = format!("{{\"networks\": [{}]}}", vec!["{}"; 1_000_000].join(","));
    let huge = format!("{{\"network\": {{\"name\": \"{}\"}}}}", "x".repeat(5 << 20));
    for (body, status) in [
        (b"{\"network\": ".to_vec(), 400),
        (vec![0xff, 0xfe, b'{'], 400),
        (deep.into_bytes(), 400),
        (huge.into_bytes(), 413),
        (million.into_bytes(), 400),
    ] {
        let length = body.len();
        let answer = rig
            .ask("POST", "/v2.0/networks", &headers(), body.into())
            .await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{length} bytes: {}",
            answer.body
        );
    }
}
