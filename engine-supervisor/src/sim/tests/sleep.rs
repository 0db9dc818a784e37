use super::*;

#[tokio::test]
async fn a_sleeping_engine_is_well_and_answers_nobody_until_it_wakes() {
    let sim = Sim::start(|options| options.sleep_mode = true).await;
    let state = async || json_of(&get(&sim.address, "/is_sleeping", DEADLINE).await.unwrap())["is_sleeping"].clone();
    assert_eq!(state().await, false);
    let slept = sim.post("/sleep?level=1", json!({})).await;
    assert_eq!(json_of(&slept), json!({"status": "sleeping", "level": 1}));
    assert_eq!(state().await, true);
    assert_eq!(get(&sim.address, "/health", DEADLINE).await.unwrap().status, StatusCode::OK);
    assert_eq!(sim.metric("vllm:engine_sleep_state{engine=\"0\",model_name=\"m\",sleep_state=\"awake\"}").await, 0.0);

    let waits = sim.chat(json!({"messages": user("Hello"), "max_tokens": 1}));
    let wakes = async {
        sim.becomes("vllm:num_requests_waiting", 1.0).await;
        assert_eq!(sim.metric("vllm:generation_tokens_total").await, 0.0);
        sim.post("/wake_up", json!({})).await
    };
    let (answer, woken) = tokio::join!(waits, wakes);
    assert_eq!((answer.status, woken.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(state().await, false);
}

#[tokio::test]
async fn only_an_engine_that_was_told_so_can_sleep() {
    let sim = Sim::start(|_| {}).await;
    assert_eq!(sim.post("/sleep", json!({})).await.status, StatusCode::NOT_FOUND);
    let sim = Sim::start(|options| options.sleep_mode = true).await;
    assert_eq!(sim.post("/sleep?level=3", json!({})).await.status, StatusCode::BAD_REQUEST);
}
