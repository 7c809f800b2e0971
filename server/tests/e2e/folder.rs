//! What is particular to a data folder.

use crate::support::TestNode;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_folder_is_refused() {
    let node = TestNode::start().await;
    let config = leadway_config::Config { data: node.data(), listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let error = leadway_server::flow::Node::start(config, None).await.err().expect("it must be refused");
    assert!(format!("{error:#}").contains("log"), "{error:#}");
}
