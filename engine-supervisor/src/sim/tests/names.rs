//! Adapters, and the APIs besides completions.

use super::*;

#[tokio::test]
async fn an_adapter_answers_by_its_own_name_with_its_own_text() {
    let sim = Sim::start(|options| options.adapters.push("sql".to_owned())).await;
    let body = |model: &str| json!({"model": model, "messages": user("Hello"), "max_tokens": 20});
    let answer = json_of(&sim.chat(body("sql")).await);
    assert_eq!(answer["model"], "sql");
    assert_ne!(sim.text(body("sql")).await, sim.text(body("m")).await);
    assert_eq!(sim.text(body("alias")).await, sim.text(body("m")).await);
    let models = json_of(&get(&sim.address, "/v1/models", DEADLINE).await.unwrap());
    assert_eq!((&models["data"][2]["id"], &models["data"][2]["parent"]), (&json!("sql"), &json!("m")));
}

/// Names and data of all events.
fn named_events(answer: &Answer) -> Vec<(String, Value)> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        assert_eq!(data["type"], name.as_str());
        (name, data)
    };
    std::str::from_utf8(&answer.body).unwrap().split_terminator("\n\n").map(event).collect()
}

#[tokio::test]
async fn responses_and_messages_say_what_a_chat_says() {
    let sim = Sim::start(|_| {}).await;
    let text = sim.text(json!({"model": "m", "messages": user("Hello"), "max_tokens": 5})).await;
    let response = json!({"model": "m", "input": "Hello", "max_output_tokens": 5});
    let message = json!({"model": "m", "messages": user("Hello"), "max_tokens": 5});
    let whole = json_of(&sim.post("/v1/responses", response.clone()).await);
    assert_eq!((&whole["output"][0]["content"][0]["text"], &whole["status"]), (&json!(text), &json!("incomplete")));
    assert_eq!(whole["usage"]["output_tokens"], 5);
    let whole = json_of(&sim.post("/v1/messages", message.clone()).await);
    assert_eq!((&whole["content"][0]["text"], &whole["stop_reason"]), (&json!(text), &json!("max_tokens")));
    for (path, mut body, first, last) in [
        ("/v1/responses", response, "response.created", "response.incomplete"),
        ("/v1/messages", message, "message_start", "message_stop"),
    ] {
        body["stream"] = true.into();
        let events = named_events(&sim.post(path, body).await);
        assert_eq!((events[0].0.as_str(), events.last().unwrap().0.as_str()), (first, last));
        let deltas = events.iter().filter(|(name, _)| name.ends_with("delta"));
        let said: String =
            deltas.filter_map(|(_, data)| data["delta"].as_str().or_else(|| data["delta"]["text"].as_str())).collect();
        assert_eq!(said, text);
    }
}
