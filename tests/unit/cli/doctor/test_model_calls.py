from api.models.cost import Cost
from api.models.model_models import ModelWithKey
from cli.doctor.findings import Status
from cli.doctor.model_calls import check_models
from config import ModelKeys


def model(key: str, *keys: str) -> ModelWithKey:
    return ModelWithKey.model_validate(
        {
            "model_id": "m",
            "name": "m",
            "sdk": "OpenAI",
            "key": key,
            "keys": list(keys) or None,
            "cost": Cost(
                tokens=1, currency="USD", input=1, output=1
            ).model_dump(),
            "maxToken": 9,
            "_metadata": {
                "createdAt": "2026-01-01T00:00:00Z",
                "updatedAt": "2026-01-01T00:00:00Z",
            },
        }
    )


async def test_a_key_that_is_not_allowed_is_told_with_what_to_do() -> None:
    keys = ModelKeys({"STRIPE_API_KEY": "hush"})
    models = [model("STRIPE-API-KEY"), model("ADMIN-API-KEY")]
    found = [each async for each in check_models(models, keys, None)]
    assert [each.status for each in found] == [Status.FAIL] * 2
    stripe, admin = found
    assert "may not be used" in stripe.message
    assert "MODEL_KEY_PREFIXES=default,STRIPE_API_KEY" in str(stripe.remedy)
    assert "is never used" in admin.message
    assert "KEY_MY_MODEL" in str(admin.remedy)


async def test_each_of_several_keys_is_looked_for() -> None:
    keys = ModelKeys({"KEY_ONE": "hush"})
    several = model("KEY-NONE", "KEY-ONE", "KEY-TWO")
    found = [each async for each in check_models([several], keys, None)]
    assert [each.status for each in found] == [
        Status.OK,
        Status.OK,
        Status.FAIL,
    ]
    assert "KEY_ONE" in str(found[0])
    assert "KEY_TWO" in str(found[2])
