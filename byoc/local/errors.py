"""Errors as AWS answers them."""


class AWSError(Exception):
    """A code, an HTTP status and a message; the front shapes it for the client's protocol."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def validation(message: str) -> AWSError:
    """What SageMaker answers to a request that is wrong or names nothing it has."""
    return AWSError("ValidationException", message)


def not_implemented(operation: str) -> AWSError:
    """The local AWS's refusal. 501 is a status that AWS's clients do not retry."""
    return AWSError(
        "NotImplementedException",
        f"The local AWS does not implement {operation}: "
        "see the book's page 'The local AWS' for what it does.",
        501,
    )
