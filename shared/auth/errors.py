"""Why a token does not let its bearer in."""

from shared.web.refusals import Problem


class _Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "The request does not say who sends it"

    def __init__(self, detail: str | None = None) -> None:
        challenge = 'Bearer realm="branchline"'
        if not isinstance(self, MissingToken):
            challenge += f', error="invalid_token", error_description="{detail or self.title}"'
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class MissingToken(_Unauthenticated):
    code, title = "missing_token", "The request has no bearer token"
    remedy = "Send `Authorization: Bearer <token>` with a token of the bank's identity provider."


class InvalidToken(_Unauthenticated):
    code, title = "invalid_token", "The token is not accepted"
    remedy = "Ask the bank's identity provider for a token for this audience and send that."


class TokenExpired(InvalidToken):
    code, title = "token_expired", "The token has expired"
    remedy = "Ask the bank's identity provider for a new one."


class InsufficientScope(Problem):
    status, code, title = 403, "insufficient_scope", "The token lacks the scope for this"
    remedy = "Ask for a token with the scope that the operation's description names."

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"Needs the role service and the scope {scope}.",
            headers={"WWW-Authenticate": f'Bearer realm="branchline", error="insufficient_scope", scope="{scope}"'},
        )


class IdentityProviderUnavailable(Problem):
    status, code, title = 503, "identity_provider_unavailable", "The identity provider's keys cannot be fetched"
    remedy = "Send the same request again after the seconds in Retry-After."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})
