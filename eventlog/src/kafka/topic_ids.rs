//! Which cluster this is, and which topics: a topic that is deleted and made anew under its name has another id.
//!
//! The library has the question, its Rust bindings do not: this is the one place of the crate that calls it directly.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::bindings as library;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as NO_ERROR;

use super::client::Context;

/// What brokers before Kafka 2.8 say, whose topics have no ids.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The id of each topic that exists and may be described; nothing for those that do not. Blocks.
pub(super) fn topic_ids(
    client: &Client<Context>,
    names: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, String>, String> {
    let owned: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // Every object is destroyed once, after the last use of what belongs to it; the names outlive the call.
    unsafe {
        let rk = client.native_ptr();
        let topics = library::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options =
            library::rd_kafka_AdminOptions_new(rk, library::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let queue = library::rd_kafka_queue_new(rk);
        library::rd_kafka_AdminOptions_set_request_timeout(options, millis, std::ptr::null_mut(), 0);
        library::rd_kafka_DescribeTopics(rk, topics, options, queue);
        // The request has a timeout of its own; this one is only there so that nothing waits for ever.
        let event = library::rd_kafka_queue_poll(queue, millis.saturating_add(1_000));
        let found = if event.is_null() { Err("no answer in time".to_owned()) } else { read(event) };
        if !event.is_null() {
            library::rd_kafka_event_destroy(event);
        }
        library::rd_kafka_queue_destroy(queue);
        library::rd_kafka_AdminOptions_destroy(options);
        library::rd_kafka_TopicCollection_destroy(topics);
        found
    }
}

/// # Safety
/// `event` must be one that [`library::rd_kafka_queue_poll`] gave.
unsafe fn read(event: *mut library::rd_kafka_event_t) -> Result<BTreeMap<String, String>, String> {
    unsafe {
        let error = library::rd_kafka_event_error(event);
        if error != NO_ERROR {
            return Err(RDKafkaErrorCode::from(error).to_string());
        }
        let result = library::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("another answer than asked for".to_owned());
        }
        let mut count = 0;
        let topics = library::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut found = BTreeMap::new();
        for n in 0..count {
            let topic = *topics.add(n);
            let error = library::rd_kafka_TopicDescription_error(topic);
            if !error.is_null() && library::rd_kafka_error_code(error) != NO_ERROR {
                continue;
            }
            let id = library::rd_kafka_TopicDescription_topic_id(topic);
            let id = if id.is_null() { None } else { text(library::rd_kafka_Uuid_base64str(id)) };
            let name = text(library::rd_kafka_TopicDescription_name(topic));
            found.extend(name.zip(id.filter(|id| id != NO_ID)));
        }
        Ok(found)
    }
}

/// # Safety
/// `text` must be null or end with a zero.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
