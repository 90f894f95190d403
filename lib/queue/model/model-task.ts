import { HoldfastError } from "../../errors.ts";
import type { Task } from "../task.ts";
import { offeredTools, UnknownTools } from "./offered-tools.ts";

/**
 * Whether a model can be given this.
 *
 * @throws HoldfastError ERR_HOLDFAST_TASK_INVALID
 */
export function checkModelTask({ message, agent }: Task): void {
  if (message === undefined || message.trim() === "") throw invalid("it has neither calls nor a message");
  try {
    offeredTools(agent?.tools);
  } catch (error) {
    throw error instanceof UnknownTools ? invalid(error.message) : error;
  }
}

function invalid(why: string): HoldfastError {
  return new HoldfastError(`the task is not valid: ${why}`, {
    code: "ERR_HOLDFAST_TASK_INVALID",
    step: "queue",
    hint: "A task without calls is the model's: give it a message. docs/queue.md has the format.",
  });
}
